// The fraud consumer looks at orders of a thousand and more.
package main

import (
	"context"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambda"

	"example.com/fan-out/internal/consumer"
)

type order struct {
	ID     string  `json:"id"`
	Amount float64 `json:"amount"`
}

func handle(ctx context.Context, o order) error {
	slog.InfoContext(ctx, "look at", "order", o.ID, "amount", o.Amount)
	return nil
}

func main() { lambda.Start(consumer.Handler(handle)) }
