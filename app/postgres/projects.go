package postgres

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/loadbearing/loadbearing/app"
)

// Projects implements app.Projects.
type Projects struct{ db *DB }

var _ app.Projects = Projects{}

// Projects returns the store of projects.
func (db *DB) Projects() Projects { return Projects{db} }

const projectColumns = "id, tenant_id, name, description, version, created_by, created_at, updated_at"

func scanProject(row pgx.Row, p *app.Project) error {
	return row.Scan(&p.ID, &p.TenantID, &p.Name, &p.Description, &p.Version, &p.CreatedBy, &p.CreatedAt, &p.UpdatedAt)
}

// Create implements app.Projects.
func (s Projects) Create(ctx context.Context, p app.Project) error {
	return s.db.batch(ctx, "create a project", p.TenantID, func(b *pgx.Batch) {
		b.Queue(`insert into projects (`+projectColumns+`) values ($1, $2, $3, $4, $5, $6, $7, $8)`,
			p.ID, p.TenantID, p.Name, p.Description, p.Version, p.CreatedBy, p.CreatedAt, p.UpdatedAt)
	})
}

// Get implements app.Projects.
func (s Projects) Get(ctx context.Context, tenant, id uuid.UUID) (app.Project, error) {
	var p app.Project
	err := s.db.batch(ctx, "read a project", tenant, func(b *pgx.Batch) {
		b.Queue("select "+projectColumns+" from projects where tenant_id = $1 and id = $2", tenant, id).
			QueryRow(func(row pgx.Row) error { return scanProject(row, &p) })
	})
	return p, err
}

// List implements app.Projects.
func (s Projects) List(ctx context.Context, tenant uuid.UUID, page app.Page) ([]app.Project, error) {
	var all []app.Project
	err := s.db.batch(ctx, "list projects", tenant, func(b *pgx.Batch) {
		b.Queue("select "+projectColumns+` from projects
			where tenant_id = $1 and id < $2 order by id desc limit $3`, tenant, before(page), page.Limit).
			Query(func(rows pgx.Rows) error {
				for rows.Next() {
					var p app.Project
					if err := scanProject(rows, &p); err != nil {
						return err
					}
					all = append(all, p)
				}
				return rows.Err()
			})
	})
	return all, err
}

// before returns the id that a page's items stand before. One text with one
// plan serves the first page too: it starts from the greatest id.
func before(page app.Page) uuid.UUID {
	if page.After == uuid.Nil {
		return uuid.Max
	}
	return page.After
}

// Update implements app.Projects.
func (s Projects) Update(ctx context.Context, p app.Project) (app.Project, error) {
	err := s.db.batch(ctx, "update a project", p.TenantID, func(b *pgx.Batch) {
		b.Queue(`update projects set name = $4, description = $5, version = version + 1, updated_at = $6
			where tenant_id = $1 and id = $2 and version = $3 returning `+projectColumns,
			p.TenantID, p.ID, p.Version, p.Name, p.Description, p.UpdatedAt).
			QueryRow(func(row pgx.Row) error { return scanProject(row, &p) })
	})
	if app.CodeOf(err) == app.CodeNotFound {
		if _, gone := s.Get(ctx, p.TenantID, p.ID); gone != nil {
			return app.Project{}, gone
		}
		return app.Project{}, app.Errorf(app.CodeConflict, "the project has changed since version %d", p.Version)
	}
	return p, err
}

// Delete implements app.Projects. The project's jobs and videos go with it;
// their objects do not.
func (s Projects) Delete(ctx context.Context, tenant, id uuid.UUID) error {
	return s.db.batch(ctx, "delete a project", tenant, func(b *pgx.Batch) {
		b.Queue("delete from projects where tenant_id = $1 and id = $2", tenant, id).Exec(affected("the project"))
	})
}
