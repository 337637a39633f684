// Package compression drills the compression of JSON answers against a running
// service: what is compressed, that it decodes to the same bytes, what it saves
// and costs, and what small requests feel of it.
package compression
