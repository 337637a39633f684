package service

import (
	"context"
	"fmt"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/internal/contract"
)

func (p program) migrate(ctx context.Context) error {
	s, _, log, err := p.load(ctx,
		contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAdminSecret, contract.DatabaseAppSecret)
	if err != nil {
		return err
	}
	owner := postgres.FromSettings(s.Database, s.Database.Admin)
	schema, err := postgres.Migrate(ctx, owner, postgres.Role{Username: s.Database.App.Username, Password: s.Database.App.Password.Reveal()})
	for _, m := range schema.Applied {
		log.Info("migration applied", "version", m.Version, "name", m.Name, "ms", m.Duration.Milliseconds())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "schema version %d, %d migrations applied\n", schema.Version, len(schema.Applied))
	return err
}
