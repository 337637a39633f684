package postgres

import "github.com/loadbearing/loadbearing/app/settings"

// FromSettings returns how a program connects to the primary as one of its
// roles: d.App to read and write, d.Admin to migrate.
func FromSettings(d settings.Database, as settings.Credentials) Config {
	return Config{
		Address: d.Primary, Database: d.Name, Username: as.Username, Password: as.Password.Reveal(), TLS: d.TLS,
		Connections: d.Connections, StatementTimeout: d.StatementTimeout,
	}
}
