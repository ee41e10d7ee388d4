# What one does with this checkout. `make` alone lists it; the product itself is `skiff`.
SKIFF_WORKSPACE ?= default
SKIFF_WORKSPACES ?= workspaces
PYTHON := .venv/bin/python
SKIFF := .venv/bin/skiff
# Without any choice of layers, `make run` takes these.
DEFAULT_LAYERS := $(if $(SKIFF_CONFIG)$(wildcard $(SKIFF_WORKSPACES)/$(SKIFF_WORKSPACE)/config.json),,virt/qemu,engine/docker)
export SKIFF_BUILDER SKIFF_CONFIG SKIFF_WORKSPACE SKIFF_WORKSPACES

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests configure compile flash run ssh status stop check test bench torture docs golden clean

help: ## List what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-18s%s\n", $$1, $$2}'
	@echo "SKIFF_CONFIG=virt/qemu,engine/docker chooses layers, SKIFF_WORKSPACE=name another workspace."

setup: ## Install what is needed on this machine, and the tool as .venv/bin/skiff
	@tools/setup

setup-tests:
	@tools/setup --tests

configure: setup ## Choose the workspace's layers (from SKIFF_CONFIG) and remember them
	@$(SKIFF) configure $(DEFAULT_LAYERS)

compile: setup ## Build the image
	@$(SKIFF) build $(DEFAULT_LAYERS)

flash: setup ## Build the disk image and write it to a card: DEVICE=/dev/sdX; without, list the cards
	@$(SKIFF) flash $(DEVICE)

run: setup ## Build, boot in QEMU, wait until it answers and its engine has run a container
	@$(SKIFF) run --detach $(DEFAULT_LAYERS)

ssh: setup ## Log in to the machine
	@$(SKIFF) ssh

status: setup ## Tell how the machine is
	@$(SKIFF) status

stop: setup ## Stop the machine
	@$(SKIFF) stop

# `make cmd/odroid/xu/install`: a command that a SkiffOS config package brings.
cmd/%: setup
	@$(SKIFF) cmd $*

check: setup-tests ## Lint, types, generated pages, unit and tool tests, a minute
	@tools/check

test: check ## All tests, with virtual machines too
	@tools/vm-tests

bench: setup-tests ## Measure, and print the figures
	@$(PYTHON) -m bench

torture: setup-tests ## Attack machines: CUTS=200 MUTATIONS=500 SEED=1; the verdict comes last; goes on where it was interrupted
	@$(PYTHON) -m torture $(if $(CUTS),--cuts $(CUTS)) $(if $(MUTATIONS),--mutations $(MUTATIONS)) $(if $(SEED),--seed $(SEED))

docs: setup-tests ## Write the generated reference pages anew
	@$(PYTHON) -m tools.reference

golden: setup-tests ## Write the recipes that tests compare with anew
	@$(PYTHON) -m pytest -q tests/unit/test_golden.py --update-golden

clean: setup ## Remove the workspace's image
	@$(SKIFF) clean
