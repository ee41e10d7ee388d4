# What containers may take of the machine, all of them together, so that the system always has a reserve. Sourced by
# the engines' services.
# shellcheck shell=sh

# Sets TOTAL, MEMORY and SWAP (KB) and COUNT (processes).
limits_size() {
	memory MemAvailable
	available=$REPLY
	memory MemTotal
	TOTAL=$REPLY
	reserve=$((TOTAL / 8192))
	[ "$reserve" -gt 32 ] || reserve=32
	[ "$reserve" -lt 256 ] || reserve=256
	cmdline_number skiff.reserve "$reserve"
	# The image in RAM and what the system itself uses are not available any more: the reserve is on top of them.
	MEMORY=$((available - REPLY * 1024))
	# However little there is: a container that is tried is worth more than a reserve.
	[ "$MEMORY" -gt $((TOTAL / 4)) ] || MEMORY=$((TOTAL / 4))
	# Half of the zram, which takes as much memory where nothing can be compressed.
	SWAP=$((TOTAL / 3))
	# A quarter of what the kernel has room for. Each takes some 130 KB of the kernel's own memory.
	COUNT=$((TOTAL / 512))
	[ "$COUNT" -gt 256 ] || COUNT=256
	[ "$COUNT" -lt 16384 ] || COUNT=16384
}

# Once in a boot: containers outlive their engine, and what was changed by hand since stays.
limit_containers() { # GROUP…
	[ ! -e "$STATUS/limits" ] || return 0
	limits_size
	for controller in cpu memory pids; do
		echo "+$controller" >"$SYS/fs/cgroup/cgroup.subtree_control"
	done
	for group; do
		group=$SYS/fs/cgroup/$group
		mkdir -p "$group"
		echo "${SWAP}K" >"$group/memory.swap.max"
		if ! echo "${MEMORY}K" >"$group/memory.max" || ! echo "$COUNT" >"$group/pids.max"; then
			report limits warn "containers may take all of the machine" "a kernel with CONFIG_MEMCG and CONFIG_CGROUP_PIDS"
			return
		fi
	done
	report limits ok "containers: $((MEMORY / 1024)) of $((TOTAL / 1024)) MiB and $COUNT processes at most"
} 2>/dev/null
