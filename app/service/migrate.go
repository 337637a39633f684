package service

import (
	"context"
	"fmt"

	"github.com/loadbearing/loadbearing/app/postgres"
	"github.com/loadbearing/loadbearing/internal/contract"
	"github.com/loadbearing/loadbearing/internal/migration"
)

func (p program) migrate(ctx context.Context, phase migration.Phase) error {
	s, _, log, err := p.load(ctx,
		contract.DatabasePrimary, contract.DatabaseName, contract.DatabaseAdminSecret, contract.DatabaseAppSecret)
	if err != nil {
		return err
	}
	owner := postgres.FromSettings(s.Database, s.Database.Admin)
	role := postgres.Role{Username: s.Database.App.Username, Password: s.Database.App.Password.Reveal()}
	schema, err := postgres.Migrate(ctx, owner, role, postgres.Plan{Phase: phase})
	for _, m := range schema.Applied {
		log.Info("migration applied", "version", m.Version, "name", m.Name, "ms", m.Duration.Milliseconds())
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "schema version %d, %d migrations applied, %d missing\n", schema.Version, len(schema.Applied), len(schema.Pending))
	return err
}
