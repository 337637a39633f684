// The mail consumer tells the customer that an order was placed or shipped.
package main

import (
	"context"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/fan-out/internal/consumer"
)

type order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
}

func handle(ctx context.Context, o order) error {
	slog.InfoContext(ctx, "mail", "order", o.ID, "to", o.Customer)
	return nil
}

func main() { lambda.Start(consumer.Handler(handle)) }
