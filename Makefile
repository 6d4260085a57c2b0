# build, demo, test, check need nothing but Go; race needs a C compiler, e2e the real
# counterparts that .ci/run installs.
GO       ?= go
FUZZTIME ?= 1m
BENCH    ?= .
CRASHES  ?= 1000
FIGURETIME ?= 3s
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
LDFLAGS   = -s -w -X main.version=$(VERSION)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
MUTANT    = $(if $(filter dnssec,$(BREAK)),demo-dnssec,$(if $(filter allowlist,$(BREAK)),demo-allowlist,$(BREAK)))

# The TLS extension dane_clientid needs a crypto/tls that carries it: the tool patches
# the installed one for this build alone. Without these flags everything works, too,
# and takes client names from certificates.
OVERLAY   = build/tls/overlay.json
EXTENSION = -tags dane_clientid -overlay $(OVERLAY)

export CGO_ENABLED = 0

.PHONY: build overlay demo test test-extension e2e race fuzz figures bench mutants crashtest check clean

build: overlay ## build/dancemta
	$(GO) build $(EXTENSION) -trimpath -ldflags '$(LDFLAGS)' -o build/dancemta ./cmd/dancemta

overlay:
	@$(GO) run ./daneclient/clientid/overlay $(dir $(OVERLAY))

# BREAK=dnssec, BREAK=allowlist or the name of a mutant build a server without that check: the
# demo must fail.
ifdef BREAK
demo: overlay
	overlay=$$($(GO) run ./internal/mutants -base $(OVERLAY) overlay $(MUTANT)) && \
	$(GO) build -tags dane_clientid -overlay "$$overlay" -o build/dancemta-broken ./cmd/dancemta
	build/dancemta-broken demo
else
demo: build ## the main job on this machine alone, every line checked
	build/dancemta demo
endif

test: ## the whole suite that needs Go alone
	$(GO) vet ./...
	$(GO) test -timeout 240s ./...

# The one test that is left out counts the fields of tls.Config.
test-extension: overlay ## what differs in the build with dane_clientid, and crypto/tls's own suite
	$(GO) vet $(EXTENSION) ./...
	$(GO) test $(EXTENSION) -timeout 240s ./daneclient/... ./saslext/... ./smtpd/... ./queue/deliver/... ./cmd/...
	$(GO) test -overlay $(OVERLAY) -short -skip '^TestCloneNonFuncFields$$' crypto/tls

e2e: build ## stories and oracles against real servers
	DANCEMTA_E2E=$${DANCEMTA_E2E:-1} $(GO) test -count=1 -timeout 600s -run 'TestStories|TestOracle' $(EXTENSION) ./cmd/dancemta ./daneclient ./daneclient/dnssec

race: ## the suite under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 900s ./...

# Two targets at a time, each with one worker: most of a short run is starting up.
fuzz: ## every fuzz target for FUZZTIME
	@grep -r --include='*_test.go' '^func Fuzz' . | sed 's|/[^/]*:func | |; s|(.*| $(FUZZTIME)|' | sort | GO=$(GO) xargs -P 2 -L 1 .ci/fuzz

figures: ## the whole server beside Postfix, where that is installed and we are root, and beside slapd; FIGURETIME each
	DANCEMTA_FIGURES=$(FIGURETIME) $(GO) test -count=1 -v -timeout 1800s -run '^Test(LDAP)?Figures$$' ./cmd/dancemta

bench: $(if $(filter .,$(BENCH)),figures) ## figures and all benchmarks, or those that BENCH names
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 1800s ./...

mutants: overlay ## each removed check must make a test fail; MUTANTS_BUDGET=6m: those of the newest code first, and no longer
	$(GO) run ./internal/mutants -base $(OVERLAY) -tags dane_clientid $(if $(MUTANTS_BUDGET),-budget $(MUTANTS_BUDGET)) run

crashtest: ## kill -9 under load, CRASHES times, at each step and at random; nothing acknowledged may be lost
	DANCEMTA_CRASHES=$(CRASHES) $(GO) test -count=1 -v -timeout 1800s -run '^TestCrash$$' ./cmd/dancemta ./queue/boltstore

check: ## format, vet, staticcheck, tidy modules
	test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

clean:
	rm -rf build
