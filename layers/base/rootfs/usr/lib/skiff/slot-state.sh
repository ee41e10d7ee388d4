# The sector of the boot partition that remembers which slot to start and how (docs/reference/disk.md). Sourced by
# slots.sh, and by boot for safe starts.
# shellcheck shell=sh
# shellcheck disable=SC2034  # the results are for the scripts that source this file

# The slot that this system was started from. Sets RUNNING and OTHER; false when it came from elsewhere.
slot_running() {
	cmdline skiff.slot || return 1
	case $REPLY in
	a) RUNNING=a OTHER=b ;;
	b) RUNNING=b OTHER=a ;;
	*) return 1 ;;
	esac
}

# The state's sector. Sets ST_SLOT, ST_TRIES, ST_MARK and ST_SAFE; false when there is none.
state_read() {
	ST_SLOT='' ST_TRIES=255 ST_MARK=g ST_SAFE=''
	# shellcheck disable=SC2046,SC2153
	set -- $(od -An -v -tx1 -j 8192 -N 12 "$ROOT/dev/$BOOT_DEV" 2>/dev/null)
	[ "$1$2$3$4$5$6$7$8" = 534b494646535431 ] || return 1
	case $9 in
	62) ST_SLOT=b ;;
	*) ST_SLOT=a ;;
	esac
	shift 9
	ST_TRIES=$((0x$1))
	[ "$2" != 74 ] || ST_MARK=t
	[ "$3" != 73 ] || ST_SAFE=s
}

# One sector, whole or not at all. MARK: t for trial, g for good; SAFE: s or nothing.
state_write() { # SLOT TRIES MARK [SAFE]
	# shellcheck disable=SC2059
	printf "SKIFFST1$1\\$(printf %03o "$2")$3${4-}" |
		dd of="$ROOT/dev/$BOOT_DEV" bs=512 seek=16 conv=notrunc,sync,fsync 2>/dev/null
}

# Whether the guard asked for a safe start. The question is taken away: it is for one start.
state_takes_safe() {
	[ -n "$BOOT_DEV" ] && state_read && [ -n "$ST_SAFE" ] && state_write "$ST_SLOT" "$ST_TRIES" "$ST_MARK"
}
