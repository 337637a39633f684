// Package compress sends JSON in the encoding a client prefers: zstd, Brotli or
// gzip (RFC 9110, 8.4 and 12.5.3). A load balancer compresses nothing and
// CloudFront nothing that it does not cache, so the program does it.
//
// # What is compressed
//
// JSON of at least Threshold bytes. A body whose length is not known is held
// back until it has that many bytes, then it is compressed as it is written.
// These are never touched: what is no JSON (images, videos, event streams,
// newline-delimited JSON), what is encoded already, ranges (206), answers
// without a body (1xx, 204, 205, 304), connections that are taken over
// (WebSockets), answers with Cache-Control: no-transform, with a digest of
// their content, or that set a cookie, and what a handler flushes before the
// threshold: that is a stream.
//
// # BREACH
//
// The length of a compressed body tells how much of it repeats. If a body has
// a secret beside something an attacker can choose, its length tells, request
// by request, what the secret is (https://www.breachattack.com). So a route
// whose answer has both must not be wrapped at all, and Serve never compresses
// an error, which often quotes the request.
//
// # Entity tags
//
// A strong ETag of a compressed answer gets its encoding as a suffix, "5"
// becomes "5-zstd", because different bytes must not share a strong tag (RFC
// 9110, 8.8.3.3). They do not become weak: If-Match compares strongly (13.1.1),
// so a weak tag could never be the condition of a change. Handlers see tags
// without the suffix: in If-Match any encoding's is removed, in If-None-Match
// only that of the encoding this request would get, for only that one is the
// same bytes. A handler's own tags must not end in a suffix.
//
// # CPU and memory
//
// Large bodies are compressed piece by piece, by at most GOMAXPROCS-1 goroutines
// at a time, which rest in between: small requests beside them must not wait. A
// client that reads slowly holds an encoder but no processor. There are at most
// MaxEncoders; who finds none free gets the body as it is.
package compress
