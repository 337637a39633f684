package lint

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	// PostgreSQL's own parser, as WebAssembly: the functions are built without cgo.
	"github.com/wasilibs/go-pgquery/parser"

	"github.com/loadbearing/loadbearing/internal/migration"
)

// linter judges migrations in order and remembers what they made.
type linter struct {
	types   map[string]string // of columns that migrations made: "videos.filename" is "text"
	present map[string]string // constraints CHECK (column IS NOT NULL) by name, with "table.column"
	valid   map[string]bool   // "table.column" that a valid such constraint says is not null
}

func newLinter() *linter {
	return &linter{types: map[string]string{}, present: map[string]string{}, valid: map[string]bool{}}
}

// file is the migration that is being judged.
type file struct {
	*linter
	name          string
	phase         migration.Phase
	inTransaction bool
	stem          string          // the name without version and suffixes, for the names of suggestions
	made          map[string]bool // tables, columns and functions of this very migration
	locked        []string        // existing tables that it locks against every use, in order
	dropped       map[string]bool // indexes that it dropped concurrently
	findings      []Finding
}

// statement is one that the file has.
type statement struct {
	text string // without comments before it
	line int
	node map[string]any // of one key: the kind
}

// finding adds one.
func (f *file) finding(s statement, rule, why string, safe ...Step) {
	f.findings = append(f.findings, Finding{
		File: f.name, Line: s.line, Rule: rule, Statement: strings.Join(strings.Fields(s.text), " "), Why: why, Safe: safe,
	})
}

var (
	upLine   = regexp.MustCompile(`(?im)^\s*--\s*\+goose\s+up\s*$`)
	downLine = regexp.MustCompile(`(?im)^\s*--\s*\+goose\s+down\s*$`)
	noTx     = regexp.MustCompile(`(?im)^\s*--\s*\+goose\s+no\s+transaction\s*$`)
	version  = regexp.MustCompile(`^[0-9]+_`)
)

func (l *linter) lint(name, text string) ([]Finding, error) {
	from := upLine.FindStringIndex(text)
	if from == nil {
		return nil, fmt.Errorf("migration %s has no line -- +goose Up", name)
	}
	end := len(text)
	if down := downLine.FindStringIndex(text); down != nil && down[0] >= from[1] {
		end = down[0]
	}
	up := text[from[1]:end]
	statements, err := parse(up, 1+strings.Count(text[:from[1]], "\n"))
	if err != nil {
		return nil, fmt.Errorf("migration %s is no SQL that PostgreSQL reads: %w", name, err)
	}
	stem := version.ReplaceAllString(strings.TrimSuffix(strings.TrimSuffix(name, ".sql"), ".contract"), "")
	f := &file{
		linter: l, name: name, phase: migration.PhaseOf(name), inTransaction: !noTx.MatchString(text), stem: stem,
		made: map[string]bool{}, dropped: map[string]bool{},
	}
	for _, s := range statements {
		f.judge(s)
	}
	f.judgeLocks(statements)
	return f.findings, nil
}

// parse splits SQL whose first line has a number.
func parse(sql string, firstLine int) ([]statement, error) {
	out, err := parser.ParseToJSON(sql)
	if err != nil {
		return nil, err
	}
	var tree struct {
		Stmts []struct {
			Stmt     map[string]any
			Location int `json:"stmt_location"`
			Length   int `json:"stmt_len"` // 0 to the end
		}
	}
	if err := json.Unmarshal([]byte(out), &tree); err != nil {
		return nil, err
	}
	list := make([]statement, 0, len(tree.Stmts))
	for _, s := range tree.Stmts {
		end := len(sql)
		if s.Length > 0 {
			end = s.Location + s.Length
		}
		begin := s.Location + leading(sql[s.Location:end])
		list = append(list, statement{
			text: strings.TrimSpace(sql[begin:end]), node: s.Stmt, line: firstLine + strings.Count(sql[:begin], "\n"),
		})
	}
	return list, nil
}

// leading is how many bytes of blanks and line comments come before a statement.
func leading(sql string) int {
	at := 0
	for {
		at += len(sql[at:]) - len(strings.TrimLeft(sql[at:], " \t\r\n"))
		if !strings.HasPrefix(sql[at:], "--") {
			return at
		}
		newline := strings.IndexByte(sql[at:], '\n')
		if newline < 0 {
			return len(sql)
		}
		at += newline
	}
}

// The parse tree as JSON: a node is an object whose one key is its kind.

func object(value any, path ...string) map[string]any {
	for _, key := range path {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	m, _ := value.(map[string]any)
	return m
}

func list(value any) []any {
	l, _ := value.([]any)
	return l
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func flag(value any) bool {
	b, _ := value.(bool)
	return b
}

// names joins a list of strings with dots, without PostgreSQL's and the public schema.
func names(value any) string {
	var parts []string
	for _, each := range list(value) {
		if part := text(object(each, "String")["sval"]); part != "pg_catalog" && part != "public" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ".")
}

// relation is the name of a table.
func relation(value any) string {
	r := object(value)
	if schema := text(r["schemaname"]); schema != "" && schema != "public" {
		return schema + "." + text(r["relname"])
	}
	return text(r["relname"])
}

// typeName writes a type as SQL.
func typeName(value any) string {
	t := object(value)
	name := names(t["names"])
	var modifiers []string
	for _, m := range list(t["typmods"]) {
		modifiers = append(modifiers, fmt.Sprint(number(object(m, "A_Const", "ival")["ival"])))
	}
	if len(modifiers) > 0 {
		name += "(" + strings.Join(modifiers, ", ") + ")"
	}
	return name + strings.Repeat("[]", len(list(t["arrayBounds"])))
}

func number(value any) int {
	n, _ := value.(float64)
	return int(n)
}

// find calls visit for every node of a kind below value.
func find(value any, kind string, visit func(map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		for key, below := range value {
			if m, ok := below.(map[string]any); ok && key == kind {
				visit(m)
			}
			find(below, kind, visit)
		}
	case []any:
		for _, below := range value {
			find(below, kind, visit)
		}
	}
}

func has(value any, kind string) bool {
	found := false
	find(value, kind, func(map[string]any) { found = true })
	return found
}

// harmless statements add, say or allow, and lock nothing that others wait for longer than a moment.
var harmless = []string{
	"CreateSchemaStmt", "CreateExtensionStmt", "CreateSeqStmt", "CreateEnumStmt", "CreateDomainStmt", "CompositeTypeStmt", "CreateRoleStmt",
	"CreatePolicyStmt", "CreateTrigStmt", "CommentStmt", "SelectStmt", "AlterEnumStmt", "CreateStatsStmt", "AlterDefaultPrivilegesStmt",
}

// heavy statements hold a lock for as long as they work, and have no form that does not.
var heavy = map[string]string{
	"LockStmt":     "A lock that a migration takes by hand keeps every request that needs the table waiting.",
	"ClusterStmt":  "CLUSTER rewrites the table under an ACCESS EXCLUSIVE lock. pg_repack does the same while the table is used.",
	"TruncateStmt": "TRUNCATE removes what the running version reads, under an ACCESS EXCLUSIVE lock. Delete in batches, or drop the table in a contracting migration.",
	"VacuumStmt":   "VACUUM cannot run in a migration's transaction, and VACUUM FULL rewrites the table under an ACCESS EXCLUSIVE lock. Autovacuum does the first, pg_repack the second.",
	"RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW keeps readers waiting. Have a job refresh it CONCURRENTLY, " +
		"which needs a unique index on it.",
	"CreateTableAsStmt": "It copies as much as there is in one transaction. Create the table, and fill it in batches.",
}

func (f *file) judge(s statement) {
	kind, node := "", map[string]any{}
	for key, value := range s.node {
		kind, node = key, object(value)
	}
	if slices.Contains(harmless, kind) {
		return
	}
	if why, found := heavy[kind]; found {
		f.finding(s, "heavy-lock", why)
		return
	}
	switch kind {
	case "CreateStmt":
		f.createTable(node)
	case "CreateFunctionStmt":
		f.made[names(node["funcname"])+"()"] = true
	case "ViewStmt":
		f.made[relation(node["view"])] = true
	case "VariableSetStmt":
		if name := text(node["name"]); name != "lock_timeout" && name != "statement_timeout" {
			f.finding(s, "setting", "A setting outlives its migration on the connection. lock_timeout and statement_timeout are allowed, with a RESET at the end.")
		}
	case "AlterTableStmt":
		f.alterTable(s, node)
	case "IndexStmt":
		f.createIndex(s, node)
	case "DropStmt":
		f.drop(s, node)
	case "RenameStmt":
		f.rename(s, node)
	case "ReindexStmt":
		f.reindex(s, node)
	case "UpdateStmt", "DeleteStmt":
		f.change(s, node)
	case "InsertStmt":
		f.insert(s, node)
	case "DoStmt":
		f.do(s)
	case "GrantStmt":
		f.revoke(s, node)
	default:
		f.finding(s, "unknown", "This check does not know what "+kind+" locks, or what it takes from the running version. Teach it, with a test.")
	}
	if !f.inTransaction && !repeatable(kind, node) {
		f.finding(s, "not-repeatable", "Without a transaction a migration that fails half way is run again from its beginning: each of its statements must bear that. "+
			"This one belongs into a migration of its own, with a transaction.", f.step("", f.contracts(), s.text+";"))
	}
}

// repeatable tells whether a statement of a migration without a transaction can
// be run again after it, or one that follows, has failed.
func repeatable(kind string, node map[string]any) bool {
	switch kind {
	case "VariableSetStmt", "ReindexStmt", "DoStmt":
		return true
	case "IndexStmt":
		return flag(node["concurrent"])
	case "DropStmt":
		return flag(node["concurrent"]) && flag(node["missing_ok"])
	}
	return false
}

func (f *file) contracts() bool { return f.phase == migration.Contract }

func (f *file) createTable(node map[string]any) {
	table := relation(node["relation"])
	f.made[table] = true
	for _, element := range list(node["tableElts"]) {
		if column := object(element, "ColumnDef"); column != nil {
			f.types[table+"."+text(column["colname"])] = typeName(column["typeName"])
		}
	}
}

// lock notes that the migration keeps everybody from a table.
func (f *file) lock(table string) {
	if !f.made[table] && !slices.Contains(f.locked, table) {
		f.locked = append(f.locked, table)
	}
}

// judgeLocks looks at all locks of the migration: held until its end, two of them
// wait for each other's users, and a request that takes them the other way round is
// a deadlock.
func (f *file) judgeLocks(statements []statement) {
	if !f.inTransaction || len(f.locked) < 2 {
		return
	}
	var steps []Step
	for _, table := range f.locked {
		var texts []string
		for _, s := range statements {
			if alter := object(s.node, "AlterTableStmt"); alter != nil && relation(alter["relation"]) == table {
				texts = append(texts, s.text+";")
			}
		}
		if len(texts) > 0 {
			steps = append(steps, f.step(table, f.contracts(), strings.Join(texts, "\n")))
		}
	}
	f.finding(statements[len(statements)-1], "several-tables", fmt.Sprintf("The migration locks %s against every use, one after the other, and holds each lock until its end. "+
		"One migration for each table.", strings.Join(f.locked, ", ")), steps...)
}

func (f *file) alterTable(s statement, node map[string]any) {
	table := relation(node["relation"])
	if f.made[table] {
		return
	}
	if kind := text(node["objtype"]); kind != "OBJECT_TABLE" && kind != "OBJECT_SEQUENCE" {
		f.finding(s, "unknown", "This check does not know what ALTER does to "+kind+". Teach it, with a test.")
		return
	}
	texts := commands(s.text)
	for i, each := range list(node["cmds"]) {
		command := object(each, "AlterTableCmd")
		clause := s.text
		if i < len(texts) {
			clause = texts[i]
		}
		a := alteration{statement: s, file: f, table: table, column: text(command["name"]), clause: clause, def: object(command["def"])}
		kind := text(command["subtype"])
		if kind != "AT_ValidateConstraint" {
			f.lock(table)
		}
		a.judge(kind)
	}
}

// commands splits ALTER TABLE at the commas between its commands.
func commands(text string) []string {
	head := alterHead.FindString(text)
	return splitTopLevel(text[len(head):])
}

var alterHead = regexp.MustCompile(`(?is)^alter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?(?:"[^"]+"|[\w.]+)\s*`)

func splitTopLevel(text string) []string {
	var parts []string
	depth, quote, begin := 0, rune(0), 0
	for i, r := range text {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '\'' || r == '"':
			quote = r
		case r == '(':
			depth++
		case r == ')':
			depth--
		case r == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(text[begin:i]))
			begin = i + 1
		}
	}
	return append(parts, strings.TrimSpace(text[begin:]))
}

func (f *file) createIndex(s statement, node map[string]any) {
	table := relation(node["relation"])
	if f.made[table] {
		return
	}
	unique, name := flag(node["unique"]), text(node["idxname"])
	if name == "" {
		name = f.stem + "_idx"
	}
	safe := f.concurrently(name, indexHead.ReplaceAllString(s.text, "create ${1}index concurrently "+name+" on"), unique)
	switch {
	case unique && !f.contracts():
		f.finding(s, "unique-in-expand", "The running version may write what the new index refuses.", safe)
	case !flag(node["concurrent"]):
		f.finding(s, "index-not-concurrent", "CREATE INDEX keeps every write to the table waiting until it is built.", safe)
	case f.inTransaction:
		f.finding(s, "concurrent-in-transaction", "CREATE INDEX CONCURRENTLY cannot run in a transaction.", safe)
	case !f.dropped[name]:
		f.finding(s, "index-not-repeatable", "A build that fails leaves an invalid index under this name, and the next run would fail or, with IF NOT EXISTS, take it for the real one. "+
			"Drop it first.", safe)
	}
}

var indexHead = regexp.MustCompile(`(?is)^create\s+(unique\s+)?index\s+(?:concurrently\s+)?(?:if\s+not\s+exists\s+)?(?:(?:"[^"]+"|\w+)\s+)??on\b`)

// concurrently is a migration that builds an index while its table is used.
func (f *file) concurrently(name, create string, contract bool) Step {
	step := f.step("", contract, `-- The build waits for every transaction that is open when it begins.
set lock_timeout = 0;
-- A build that failed leaves an invalid index.
drop index concurrently if exists `+name+`;
`+create+`;
reset lock_timeout;`)
	step.SQL = "-- +goose NO TRANSACTION\n" + step.SQL
	return step
}

func (f *file) drop(s statement, node map[string]any) {
	kind := text(node["removeType"])
	if kind == "OBJECT_INDEX" {
		f.dropIndex(s, node)
		return
	}
	fresh := true
	for _, each := range list(node["objects"]) {
		name := names(object(each, "List")["items"])
		if function := object(each, "ObjectWithArgs"); function != nil {
			name = names(function["objname"]) + "()"
		}
		fresh = fresh && f.made[name]
		if kind == "OBJECT_TABLE" {
			f.lock(name)
		}
	}
	if fresh || f.contracts() {
		return
	}
	what := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(kind, "OBJECT_"), "_", " "))
	f.finding(s, "drop", "The running version may use the "+what+". Drop it when that has gone.", f.step("", true, s.text+";"))
}

func (f *file) dropIndex(s statement, node map[string]any) {
	var all []string
	for _, each := range list(node["objects"]) {
		name := names(object(each, "List")["items"])
		f.dropped[name] = flag(node["concurrent"])
		all = append(all, "drop index concurrently if exists "+name+";")
	}
	step := f.step("", f.contracts(), "set lock_timeout = 0;\n"+strings.Join(all, "\n")+"\nreset lock_timeout;")
	step.SQL = "-- +goose NO TRANSACTION\n" + step.SQL
	switch {
	case !flag(node["concurrent"]):
		f.finding(s, "index-not-concurrent", "DROP INDEX waits for everybody who uses the table, and keeps everybody else from it meanwhile.", step)
	case f.inTransaction:
		f.finding(s, "concurrent-in-transaction", "DROP INDEX CONCURRENTLY cannot run in a transaction.", step)
	}
}

func (f *file) rename(s statement, node map[string]any) {
	table, old, name := relation(node["relation"]), text(node["subname"]), text(node["newname"])
	if f.made[table] {
		return
	}
	switch text(node["renameType"]) {
	case "OBJECT_INDEX":
	case "OBJECT_COLUMN":
		f.finding(s, "rename", "Of the two versions that run, one does not know the new name, and the other not the old one.",
			f.replaceColumn(table, old, name, f.typeOf(table, old))...)
	case "OBJECT_TABLE":
		f.finding(s, "rename", "Of the two versions that run, one does not know the new name, and the other not the old one. Give it a second name instead: a view "+
			"of its columns can be written like the table, as the role that asks.",
			f.step("", false, fmt.Sprintf("create view %s with (security_invoker = true) as select %s from %s;", name, f.columns(table), table)))
	default:
		f.finding(s, "rename", "Of the two versions that run, one does not know the new name, and the other not the old one. Make a second one, and drop the first in a contracting migration.")
	}
}

// columns of a table, as far as migrations say.
func (f *file) columns(table string) string {
	var all []string
	for name := range f.types {
		if column, found := strings.CutPrefix(name, table+"."); found {
			all = append(all, column)
		}
	}
	slices.Sort(all)
	if len(all) == 0 {
		return "id /* and its other columns */"
	}
	return strings.Join(all, ", ")
}

func (f *file) typeOf(table, column string) string {
	if t := f.types[table+"."+column]; t != "" {
		return t
	}
	return "text /* the type of " + column + " */"
}

func (f *file) reindex(s statement, node map[string]any) {
	concurrent := false
	for _, option := range list(node["params"]) {
		concurrent = concurrent || text(object(option, "DefElem")["defname"]) == "concurrently"
	}
	if concurrent && !f.inTransaction {
		return
	}
	step := f.step("", f.contracts(), "set lock_timeout = 0;\n"+reindexHead.ReplaceAllString(s.text, "reindex $1 concurrently ")+";\nreset lock_timeout;")
	step.SQL = "-- +goose NO TRANSACTION\n" + step.SQL
	f.finding(s, "index-not-concurrent", "REINDEX keeps every write to the table waiting until it is done; CONCURRENTLY does not, and cannot run in a transaction.", step)
}

var reindexHead = regexp.MustCompile(`(?is)^reindex\s+(index|table|schema)\s+(?:concurrently\s+)?`)

func (f *file) revoke(s statement, node map[string]any) {
	if flag(node["is_grant"]) || f.contracts() {
		return
	}
	for _, each := range list(node["objects"]) {
		name := relation(object(each, "RangeVar"))
		if function := object(each, "ObjectWithArgs"); function != nil {
			name = names(function["objname"]) + "()"
		}
		if !f.made[name] {
			f.finding(s, "revoke", "The running version may use it. Take it away when that has gone.", f.step("", true, s.text+";"))
			return
		}
	}
}

// step is a migration of a suggestion: its name is that of the file it is for.
func (f *file) step(what string, contract bool, sql string) Step {
	name := f.stem
	if what != "" {
		name += "_" + strings.ReplaceAll(what, ".", "_")
	}
	if contract {
		name += ".contract.sql"
	} else {
		name += ".sql"
	}
	return Step{Name: name, SQL: "-- +goose Up\n" + strings.TrimSpace(sql) + "\n"}
}
