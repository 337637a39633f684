// The report says how the database is reached. It signs in through the proxy with
// a token of IAM, over TLS.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/jackc/pgx/v5"
)

type report struct {
	User    string `json:"user"`
	Version string `json:"version"`
}

type handler struct {
	aws      aws.Config
	database *pgx.ConnConfig
}

func (h handler) handle(ctx context.Context) (report, error) {
	// A token is for one sign-in within 15 minutes; the proxy keeps the connection.
	endpoint := net.JoinHostPort(h.database.Host, strconv.Itoa(int(h.database.Port)))
	token, err := auth.BuildAuthToken(ctx, endpoint, h.aws.Region, h.database.User, h.aws.Credentials)
	if err != nil {
		return report{}, fmt.Errorf("make a token: %w", err)
	}
	signedIn := h.database.Copy()
	signedIn.Password = token
	conn, err := pgx.ConnectConfig(ctx, signedIn)
	if err != nil {
		return report{}, err
	}
	defer conn.Close(ctx)
	var r report
	err = conn.QueryRow(ctx, "select current_user, version()").Scan(&r.User, &r.Version)
	return r, err
}

func newHandler(ctx context.Context) (handler, error) {
	account, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return handler{}, err
	}
	// The proxy's certificate is from Amazon's public authority.
	database, err := pgx.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		return handler{}, err
	}
	return handler{aws: account, database: database}, nil
}

func main() {
	h, err := newHandler(context.Background())
	if err != nil {
		panic(err)
	}
	lambda.Start(h.handle)
}
