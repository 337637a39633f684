package lint

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/wasilibs/go-pgquery/parser"
)

const wholeTable = "One statement that changes rows of a table in use keeps every one of them locked until its end, and leaves as many dead ones behind. " +
	"In batches, each in a transaction of its own, a row is locked for a moment."

// change judges an UPDATE or a DELETE outside of a batch.
func (f *file) change(s statement, node map[string]any) {
	table := relation(node["relation"])
	if f.made[table] {
		return
	}
	head, where := s.text, ""
	if at := whereWord.FindStringIndex(s.text); at != nil && node["whereClause"] != nil {
		head, where = strings.TrimSpace(s.text[:at[0]]), strings.TrimSpace(s.text[at[1]:])
	}
	f.finding(s, "whole-table", wholeTable+" A batch may run twice: the statement must bear that.", f.batches("", table, head, where))
}

var whereWord = regexp.MustCompile(`(?is)\bwhere\b`)

func (f *file) insert(s statement, node map[string]any) {
	source := object(node["selectStmt"], "SelectStmt")
	if f.made[relation(node["relation"])] && !f.readsInUse(source) || source["valuesLists"] != nil {
		return
	}
	f.finding(s, "whole-table", "It copies as much as there is in one transaction. Copy in batches: a DO block that commits after each, in a migration with -- +goose NO TRANSACTION.")
}

// readsInUse tells whether a query reads a table of before this migration.
func (f *file) readsInUse(query any) bool {
	found := false
	find(query, "RangeVar", func(table map[string]any) { found = found || !f.made[relation(table)] })
	return found
}

// batches is a migration that changes the rows of a table page by page, a hundred
// of them in a transaction. It ends with the pages that there were at its
// beginning; a TID range is read without an index (PostgreSQL 14 and newer).
func (f *file) batches(what, table, head, where string) Step {
	if where != "" {
		where = " and (" + where + ")"
	}
	step := f.step(what, f.contracts(), fmt.Sprintf(`-- +goose StatementBegin
do $$
declare
    first bigint := 0;
    pages bigint := pg_relation_size('%[1]s') / current_setting('block_size')::bigint;
begin
    while first < pages loop
        %[2]s
            where ctid >= format('(%%s,0)', first)::tid and ctid < format('(%%s,0)', first + 100)::tid%[3]s;
        commit;
        first := first + 100;
    end loop;
end
$$;
-- +goose StatementEnd`, table, head, where))
	step.SQL = "-- +goose NO TRANSACTION\n" + step.SQL
	return step
}

// do judges an anonymous block: a batch, or statements as any other.
func (f *file) do(s statement) {
	out, err := parser.ParsePlPgSqlToJSON(s.text + ";")
	var tree any
	if err == nil {
		err = json.Unmarshal([]byte(out), &tree)
	}
	if err != nil {
		f.finding(s, "unknown", "The block is no PL/pgSQL that this check reads: "+err.Error())
		return
	}
	if has(tree, "PLpgSQL_stmt_dynexecute") {
		f.finding(s, "unknown", "What EXECUTE runs cannot be checked. Write the statement out.")
	}
	commits := has(tree, "PLpgSQL_stmt_commit")
	find(tree, "PLpgSQL_stmt_execsql", func(node map[string]any) {
		query := text(object(node["sqlstmt"], "PLpgSQL_expr")["query"])
		inner, err := parse(query, s.line)
		if err != nil {
			f.finding(s, "unknown", "The block holds SQL that this check does not read: "+err.Error())
			return
		}
		for _, each := range inner {
			if commits && !f.inTransaction && bounded(each.node) {
				continue
			}
			before := len(f.findings)
			inTransaction := f.inTransaction
			f.inTransaction = true // of the block
			f.judge(each)
			f.inTransaction = inTransaction
			for i := before; i < len(f.findings); i++ {
				f.findings[i].Line = s.line
			}
		}
	})
}

// bounded tells whether a statement changes a part of a table: the rows of some
// pages, or as many as a LIMIT says.
func bounded(node map[string]any) bool {
	if object(node["UpdateStmt"]) == nil && object(node["DeleteStmt"]) == nil && object(node["InsertStmt"]) == nil {
		return false
	}
	found := false
	find(node, "SelectStmt", func(query map[string]any) { found = found || query["limitCount"] != nil })
	find(node, "A_Expr", func(comparison map[string]any) {
		column := names(object(comparison["lexpr"], "ColumnRef")["fields"])
		found = found || column == "ctid" && names(comparison["name"]) == "<"
	})
	return found
}
