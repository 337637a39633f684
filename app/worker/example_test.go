package worker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/loadbearing/loadbearing/app/worker"
)

func Example() {
	type order struct {
		ID     int    `json:"id"`
		Status string `json:"status"`
	}
	ctx, stop := context.WithCancel(context.Background()) // in a program: signal.NotifyContext

	ship := worker.JSON(func(_ context.Context, o order) error {
		switch o.Status {
		case "paid":
			fmt.Println("shipped order", o.ID)
			return nil
		case "cancelled":
			return worker.Drop(fmt.Errorf("order %d was cancelled", o.ID))
		}
		return worker.Permanent(errors.New("unknown status " + o.Status))
	})
	w, err := worker.New(worker.Config{
		// In a program: sqs.NewFromConfig(cfg).
		Queue:   newDeadLetteredQueue(`{"id":1,"status":"paid"}`, `{"id":2,"status":"cancelled"}`, `{"id":3,"status":"?"}`),
		URL:     "https://sqs.eu-central-1.amazonaws.com/123456789012/orders",
		Handler: worker.Versions(map[int]worker.Handler{1: ship}),
		OnGiveUp: func(_ context.Context, m worker.Message, reason error) error {
			fmt.Printf("gave up %s: %v\n", m.Body, reason)
			stop()
			return nil
		},
		Concurrency: 1,
		Logger:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	w.Run(ctx)
	// Output:
	// shipped order 1
	// gave up {"id":3,"status":"?"}: unknown status ?
}

func newDeadLetteredQueue(bodies ...string) *queue {
	q := newQueue(bodies...)
	q.maxReceives = 5
	return q
}
