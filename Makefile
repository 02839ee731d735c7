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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: .venv/.installed ## Start the whole platform here: PostgreSQL, Redis, the API and the admin
	@exec $(BIN)/python -m local run

.PHONY: env
env: ## Make .env, with random secrets, for docker compose
	@$(PYTHON) -m local.dotenv

.PHONY: test
test: .venv/.installed-dev ## Run all tests, on real servers
	@exec $(BIN)/python -m pytest

.PHONY: stack-test
stack-test: .venv/.installed-dev ## Test the containers, as docker-compose.yml starts them (needs Docker)
	@docker info >/dev/null 2>&1 || { echo 'No Docker engine answers; see docker info' >&2; exit 1; }
	@exec $(BIN)/python -m pytest tests/stack -m stack -n0

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
	@exec $(BIN)/python -m pytest bench/tests -n0 -p no:randomly -q --benchmark-columns=min,median,rounds

.PHONY: lint
lint: .venv/.installed-dev ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	DJANGO_SECRET_KEY=lint DATABASE_URL=postgresql://lint@localhost/lint $(BIN)/mypy
	PYTHONPATH=fastapi-service $(BIN)/lint-imports
	$(BIN)/hadolint fastapi-service/Dockerfile django-admin/Dockerfile
	$(BIN)/yamllint --strict .
	@nginx/check.sh

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

.PHONY: clean
clean: ## Remove the virtual environment and all caches; the data in .local stay
	rm -rf .venv bench/.venv .ruff_cache .pytest_cache .hypothesis
	find . -type d \( -name __pycache__ -o -name .mypy_cache -o -name .import_linter_cache \) -prune -exec rm -rf {} +

# One line that changes: which package pip is at (only on a terminal). The exit code is that of the stamp file.
SHOW_PROGRESS := while read -r word name rest; do case $$word in \
	Collecting|Installing) test ! -t 1 || printf '\r\033[K  %s %s' "$$word" "$$name" ;; esac; done; \
	test ! -t 1 || printf '\r\033[K'

# A bare Debian has no ensurepip; then the pip of $(PYTHON) installs one.
.venv/.made bench/.venv/.made:
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
