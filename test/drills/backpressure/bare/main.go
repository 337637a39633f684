// Command bare is what the API's throughput is measured against: a server that
// passes bodies between its client and an object store and does nothing else.
// Down it is an io.Copy. Up, S3 takes an object of gigabytes in parts only, and
// this sends them as the API does, with their digests: how much S3 has to do for
// an object is not what is measured.
//
//	bare 127.0.0.1:8080 <bucket> <key to get>
package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: bare <address> <bucket> <key to get>")
	}
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	transfer := transfermanager.New(client, func(o *transfermanager.Options) { o.PartSizeBytes, o.Concurrency = 8<<20, 2 })
	bucket, key := os.Args[2], os.Args[3]
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, req *http.Request) {
		out, err := client.GetObject(req.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer out.Body.Close()
		w.Header().Set("Content-Length", strconv.FormatInt(aws.ToInt64(out.ContentLength), 10))
		if _, err := io.Copy(w, out.Body); err != nil {
			log.Print(err)
		}
	})
	mux.HandleFunc("POST /", func(w http.ResponseWriter, req *http.Request) {
		if _, err := transfer.UploadObject(req.Context(), &transfermanager.UploadObjectInput{
			Bucket: &bucket, Key: aws.String("bare"), Body: req.Body, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	server := &http.Server{Addr: os.Args[1], Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(server.ListenAndServe())
}
