# The targets are described by the `##` comments behind them; `make help` prints these.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
BENCH_PIP := bench/.venv/bin/python -m pip --disable-pip-version-check
RUN_REQUIREMENTS := fastapi-service/requirements.txt django-admin/requirements.txt local/requirements.txt
# The shared packages agree everywhere: the development set is resolved first and constrains the others.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: .venv/.installed ## Start the whole platform here: PostgreSQL, Redis, the API and the admin
	@exec $(BIN)/python -m local run

.PHONY: demo
demo: .venv/.installed ## Play a tour of two minutes on this terminal (DEMO_OPTIONS=--fast: without pauses)
	@exec $(BIN)/python -m local demo $(DEMO_OPTIONS)

.PHONY: env
env: ## Make .env, with random secrets, for docker compose
	@$(PYTHON) -m local.dotenv

# The containers' machine has no virtual environment; these two need none.
.PHONY: backup
backup: ## Write what must last into backups/, from the stack that runs
	@exec $(firstword $(wildcard $(BIN)/python) $(PYTHON)) -m local.backup

.PHONY: restore
restore: ## Put a backup in the place of the database: make restore FILE=backups/….dump
	@exec $(firstword $(wildcard $(BIN)/python) $(PYTHON)) -m local.restore "$(FILE)"

.PHONY: test
test: .venv/.installed-dev ## Run all tests, on real servers
	@exec $(BIN)/python -m pytest

.PHONY: coverage
coverage: .venv/.installed-dev ## Run all tests, and say which lines they reach (also in coverage.xml)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage xml --quiet
	@exec $(BIN)/coverage report

.PHONY: service-test
service-test: .venv/.installed-dev ## Test the API on servers of yours: TEST_DATABASE_URL, TEST_REDIS_URL (not in use!)
	@: "$${TEST_DATABASE_URL:?the address of a PostgreSQL for tests alone, as its superuser}"
	@: "$${TEST_REDIS_URL:?the address of a Redis for tests alone}"
	@exec $(BIN)/python -m pytest fastapi-service/tests/integration -n0

.PHONY: faults
faults: .venv/.installed-dev ## Break everything under load, and see what is lost (9 minutes; as root: all of them)
	@PYTHONPATH=fastapi-service exec $(BIN)/python -m tests.faults $(FAULTS_OPTIONS)

.PHONY: browser-test
browser-test: .venv/.installed-dev ## Visit every page of the admin, and photograph it (3 minutes; needs chromium)
	@ADMIN_PICTURES=1 exec $(BIN)/python -m pytest tests/browser --dist load

.PHONY: root-test
root-test: .venv/.installed-dev ## Test what only root can cause: a full disk, a network that is cut (needs root or sudo)
	@exec $$([ "$$(id -u)" = 0 ] || echo sudo --preserve-env=CI) $(BIN)/python -m pytest tests/faults -m root -n0

.PHONY: abuse
abuse: .venv/.installed-dev ## Abuse it beside good clients, and see what they notice (10 minutes; needs wrk)
	@PYTHONPATH=fastapi-service exec $(BIN)/python -m tests.abuse $(ABUSE_OPTIONS)

.PHONY: soak
soak: .venv/.installed-dev ## Load it for 10 minutes with faults at random, and balance the books (SOAK_OPTIONS='--minutes 60')
	@PYTHONPATH=fastapi-service exec $(BIN)/python -m tests.soak $(SOAK_OPTIONS)

.PHONY: fuzz
fuzz: .venv/.installed-dev ## Ask the API anything, and every parser (15 minutes; FUZZ_OPTIONS='--seconds 60 --seed 1')
	@PYTHONPATH=fastapi-service exec $(BIN)/python -m tests.fuzz $(FUZZ_OPTIONS)

.PHONY: stack-test
stack-test: .venv/.installed-dev ## Test the containers, as docker-compose.yml starts them (needs Docker; SHORT=1: not all)
	@docker info >/dev/null 2>&1 || { echo 'No Docker engine answers; see docker info' >&2; exit 1; }
	@exec $(BIN)/python -m pytest tests/stack -m 'stack$(if $(SHORT), and not slow)' -n0

.PHONY: watch
watch: .venv/.installed ## Watch a running platform with Prometheus and its alerts (needs prometheus)
	@exec $(BIN)/python -m local watch

.PHONY: watch-test
watch-test: .venv/.installed-dev ## Test rules, alerts and dashboards in a real Prometheus (needs prometheus)
	@exec $(BIN)/python -m pytest tests/watch

.PHONY: screenshots
screenshots: .venv/.installed-dev ## Take the README's pictures anew (5 minutes; needs chromium and prometheus)
	@exec $(BIN)/python -m local.screenshots

.PHONY: bench
bench: bench/.venv/.installed ## Measure us beside our peers, in one run (20 minutes; needs wrk)
	@exec bench/.venv/bin/python -m bench run $(BENCH_OPTIONS)

.PHONY: bench-check
bench-check: .venv/.installed-dev ## Fail if we serve less than 1.3 times an empty FastAPI answer (a minute; needs wrk)
	@exec $(BIN)/python -m bench check

.PHONY: bench-micro
bench-micro: .venv/.installed-dev ## Time the parts that each request pays for, and fail where one grew
	@exec $(BIN)/python -m pytest bench/tests -n0 --ignore=bench/tests/test_plan_cost.py -p no:randomly -q --benchmark-columns=min,median,rounds

.PHONY: bench-plans
bench-plans: .venv/.installed-dev ## Time requests of tiers with none to three further limits (2 minutes; needs wrk)
	@exec $(BIN)/python -m pytest bench/tests/test_plan_cost.py -n0 -q

.PHONY: bench-admin
bench-admin: .venv/.installed-dev ## Time the admin's lists and filters at 10 k, 1 M and 10 M rows (20 minutes; 4 GB of disk)
	@exec $(BIN)/python -m bench.admin $(BENCH_OPTIONS)

.PHONY: bench-what-if
bench-what-if: .venv/.installed-dev ## Time what if at 100 k and 1 M rows, and see that memory stays (2 minutes)
	@exec $(BIN)/python -m bench.what_if $(BENCH_OPTIONS)

.PHONY: lint
lint: .venv/.installed-dev ## Check style, types, imports, workflows and scripts, and look for secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	DJANGO_SECRET_KEY=lint DATABASE_URL=postgresql://lint@localhost/lint $(BIN)/mypy
	PYTHONPATH=fastapi-service $(BIN)/lint-imports
	$(BIN)/hadolint fastapi-service/Dockerfile django-admin/Dockerfile
	$(BIN)/yamllint --strict .
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.*.yml
	$(FILES) '*.sh' '.ci/*' | xargs -0 $(BIN)/shellcheck --external-sources
	$(FILES) | xargs -0 $(BIN)/detect-secrets-hook $(SECRETS_OPTIONS)
	@nginx/check.sh

.PHONY: online
online:
	@$(PYTHON) -c 'import urllib.request as u; u.urlopen("https://github.com", timeout=20)' 2>/dev/null || \
		{ echo 'This target needs the network, and https://github.com does not answer.' >&2; exit 1; }

LOCKED := requirements-dev.txt $(wildcard */requirements.txt) .github/requirements.txt
# Every file that is in git or would be, ended by a zero byte.
FILES := git ls-files -z --cached --others --exclude-standard --deduplicate
# Not by a variable's name, since too much here is called a key; and these are the passwords of examples and tests.
SECRETS_OPTIONS := --disable-plugin KeywordDetector --exclude-secrets '^(password|secret.*|hush|topsecret)$$'

.PHONY: audit
audit: online .github/.venv/.installed ## Look for known vulnerabilities in all that is pinned (needs the network)
	@.github/.venv/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off $(LOCKED:%=--requirement %)

.PHONY: actionlint
actionlint: online .github/.venv/.installed ## Check the workflows as GitHub reads them (needs the network)
	@PATH=$(BIN):$$PATH .github/.venv/bin/actionlint -color

.PHONY: terraform-test
terraform-test: ## Test terraform/ without an account (needs terraform, which loads its provider)
	terraform -chdir=terraform fmt -check -recursive -diff
	terraform -chdir=terraform init -backend=false -input=false
	terraform -chdir=terraform validate
	terraform -chdir=terraform test

.PHONY: terraform-lint
terraform-lint: .venv/.installed-dev terraform/.venv/.installed ## Check terraform/ and cloud-init's part (needs terraform, apt, root or sudo)
	terraform/.venv/bin/checkov --directory terraform --skip-download --compact --quiet
	$(BIN)/python -m pytest tests/terraform -m terraform

.PHONY: format
format: .venv/.installed-dev ## Format the code and sort the imports
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: lock
lock: .venv/.made ## Pin every dependency, with hashes, from the requirements*.in files
	@$(PIP) install --quiet uv
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	for part in fastapi-service django-admin local bench; do \
		$(COMPILE) $$part/requirements.in -c requirements-dev.txt -o $$part/requirements.txt || exit 1; \
	done
	$(COMPILE) terraform/requirements.in -o terraform/requirements.txt
	$(COMPILE) .github/requirements.in -o .github/requirements.txt

.PHONY: clean
clean: ## Remove the virtual environment and all caches; the data in .local stay
	rm -rf .venv bench/.venv terraform/.venv .github/.venv .ruff_cache .pytest_cache .hypothesis
	find . -type d \( -name __pycache__ -o -name .mypy_cache -o -name .import_linter_cache \) -prune -exec rm -rf {} +

# One line that changes: which package pip is at (only on a terminal). The exit code is that of the stamp file.
SHOW_PROGRESS := while read -r word name rest; do case $$word in \
	Collecting|Installing) test ! -t 1 || printf '\r\033[K  %s %s' "$$word" "$$name" ;; esac; done; \
	test ! -t 1 || printf '\r\033[K'

# A bare Debian has no ensurepip; then the pip of $(PYTHON) installs one.
.venv/.made bench/.venv/.made terraform/.venv/.made .github/.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.11' >&2; exit 1; }
	@echo 'Making $(@D)'
	@$(PYTHON) -m venv $(@D) >/dev/null 2>&1 || { \
		$(PYTHON) -m venv --clear --without-pip $(@D) && \
		$(PYTHON) -m pip --quiet --disable-pip-version-check --python $(@D)/bin/python install pip; }
	@touch $@

.venv/.installed: .venv/.made $(RUN_REQUIREMENTS)
	@echo 'Installing the packages (a minute, the first time)'
	@rm -f $@; { $(PIP) install $(RUN_REQUIREMENTS:%=-r %) && touch $@; } | { $(SHOW_PROGRESS); }; test -e $@

.venv/.installed-dev: .venv/.made requirements-dev.txt
	@echo 'Installing the packages and the development tools (a minute, the first time)'
	@rm -f $@; { $(PIP) install -r requirements-dev.txt && touch $@; } | { $(SHOW_PROGRESS); }; test -e $@

# One environment for all contestants: the services and their peers, on the same versions of what they share.
bench/.venv/.installed: bench/.venv/.made bench/requirements.txt
	@echo 'Installing the services and their peers (a minute, the first time)'
	@rm -f $@; { $(BENCH_PIP) install -r bench/requirements.txt && touch $@; } | { $(SHOW_PROGRESS); }; test -e $@

# Tools that hold packages of ours back, or load programs from elsewhere: each kind has an environment of its own.
terraform/.venv/.installed .github/.venv/.installed: %/.venv/.installed: %/.venv/.made %/requirements.txt
	@echo 'Installing the tools of $*/requirements.txt (a minute, the first time)'
	@rm -f $@; { $*/.venv/bin/python -m pip --disable-pip-version-check install -r $*/requirements.txt && \
		touch $@; } | { $(SHOW_PROGRESS); }; test -e $@
