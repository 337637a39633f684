# Loadbearing: every task of the project. `make help` explains them.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The environment: dev or prod.
ENV ?= dev
# What each fuzz target gets.
FUZZTIME ?= 60s
# Everything fetched, built and run stands in three ignored folders.
BUILD := .build
CLI := $(BUILD)/bin/loadbearing

export ENV EDGE_PORT ALB_PORT AWS_PORT

##@ The laptop

.PHONY: up
up: $(CLI) ## Deploy everything to a local AWS emulator and run it. DETACH=1 returns when ready; EDGE_PORT, ALB_PORT, AWS_PORT choose ports; AWS_ENDPOINT_URL uses an emulator of yours
	@$(CLI) up $(if $(filter 1 true yes,$(DETACH)),--detach)

.PHONY: down
down: $(CLI) ## Stop what `make up` started, also after a crash
	@$(CLI) down

.PHONY: status
status: $(CLI) ## Show what runs and where. JSON=1 prints one JSON object
	@$(CLI) status $(if $(filter 1 true yes,$(JSON)),--json)

##@ Templates and AWS

.PHONY: synth
synth: $(CLI) ## Synthesize the templates of ENV and summarize each stack; needs no AWS account
	@$(CLI) synth --env $(ENV)

.PHONY: diff
diff: $(CLI) ## Say what a change does to the templates of ENV since BASE, a git ref; default where the branch began. Ends with 3 when data would be lost
	@$(CLI) diff --env $(ENV) $(if $(BASE),--base $(BASE))

.PHONY: cost
cost: $(CLI) ## Estimate what ENV costs a month at list prices, by stack. USAGE names a file of requests, gigabytes and the like
	@$(CLI) cost --env $(ENV) $(if $(USAGE),--usage $(USAGE)) $(if $(filter 1 true yes,$(JSON)),--json)

.PHONY: deploy
deploy: $(CLI) ## Deploy ENV to the AWS account of your credentials. Refuses an emulator
	@$(CLI) deploy --env $(ENV)

##@ Releases

.PHONY: release
release: $(CLI) ## Release ARTIFACT, default this checkout's app, to ENV: STRATEGY=rolling, blue-green or canary. ARGS are further flags, such as "--steps 5,100 --bake 1m", or without STRATEGY a verb: ARGS="status --follow"
	@$(CLI) release $(if $(STRATEGY),--strategy $(STRATEGY) --env $(ENV) $(if $(ARTIFACT),--artifact $(ARTIFACT)) $(ARGS),$(if $(ARGS),$(ARGS) --env $(ENV)))

##@ Checks

.PHONY: test
test: test-unit test-templates test-examples test-local ## Everything: unit tests, templates, examples, Terratest against MiniStack and LocalStack. What CI runs

.PHONY: test-unit
test-unit: ## Unit tests beside the code, template tests beside the constructs, the constructs' pages
	CDK_VALIDATION=false go test ./app/... ./cmd/... ./constructs/... ./internal/... ./lambdas/... ./local/... ./stacks/... ./tools/...
	go run ./tools/docs -check

.PHONY: test-templates
test-templates: $(CLI) ## Check dev and prod: CloudFormation schemas, cfn-lint, cdk-nag's four packs, IAM, open ports, logical ids of what holds data
	@$(CLI) synth --env dev --out .build/templates/dev --lint
	@$(CLI) synth --env prod --out .build/templates/prod --lint
	CDK_VALIDATION=false go test -v ./test/compliance

.PHONY: test-examples
test-examples: ## Build and synthesize each module below examples, and check what it makes
	CDK_VALIDATION=false go test -v ./test/examples

.PHONY: test-local
test-local: $(CLI) ## Terratest: deploy to MiniStack and to LocalStack, assert through the AWS APIs and through the edge
	go test -count=1 -timeout=25m -v ./test ./test/api ./test/conformance/... ./test/load

.PHONY: test-race
test-race: ## The concurrent packages under the race detector
	go test -race ./app/... ./local/...

# Go minimizes each input that reaches new code, a minute each by default: of a
# picture that is most of the time, in which nothing is tried.
.PHONY: fuzz
fuzz: ## Run each fuzz target, one after the other, for FUZZTIME, default 60s. What it was given and found before runs with the unit tests too
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' app cmd constructs internal lambdas local stacks tools | sort | while IFS=: read -r file target; do \
		target=$${target#func } dir=$$(dirname "$$file"); \
		echo "$$target of ./$$dir"; \
		go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=100x "./$$dir" </dev/null || \
			{ echo "$$target fails. Its input stays in $$dir/testdata/fuzz/$$target, and go test ./$$dir repeats it"; exit 1; }; \
	done

.PHONY: lint
lint: ## gofmt, vet and golangci-lint, pinned in a modfile of its own, and the migrations: nothing may break the version that runs
	go tool -modfile=tools/lint/go.mod golangci-lint run
	go run ./tools/migrations

.PHONY: golden
golden: ## Rewrite the golden templates, the lists under review and the constructs' pages after a change that is meant
	CDK_VALIDATION=false go test $$(go list ./constructs/... | grep -v /internal/) ./test/compliance -update
	go run ./tools/docs

.PHONY: bench
bench: $(CLI) ## Print the figures: round trips and time of each construct, synth and its twin in Node, resizing, make up by step, edge against direct, the fleet and its releases
	@$(CLI) bench

.PHONY: drill
drill: $(CLI) ## Break what runs and show what comes of it, every drill in full. NAME=slug runs one, PART one part of it, SHORT=1 the short form, SEED repeats one; LIST=1 lists them
	@$(CLI) drill $(if $(NAME),--name $(NAME)) $(if $(PART),--part $(PART)) $(if $(SEED),--seed $(SEED)) $(if $(filter 1 true yes,$(SHORT)),--short) $(if $(filter 1 true yes,$(LIST)),--list)

##@ Housekeeping

.PHONY: build
build: $(CLI) ## Build the CLI, the app and the CDK app into .build
	@$(CLI) build

.PHONY: clean
clean: down ## Stop everything and delete what was fetched, built and run
	rm -rf .build .cache .run cdk.out node_modules

.PHONY: help
help: ## Explain every target
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  \033[36m%-15s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Go decides whether the CLI is up to date.
.PHONY: $(CLI)
$(CLI):
	@test -x $(CLI) || echo "Building the command line; the first time this compiles the AWS SDK, minutes on two cores"
	@go build -o $(CLI) ./cmd/loadbearing
