# The early look: what persist holds for overlay, keys, host name and network, copied to RAM before SSH starts.
# Everything that touches a disk runs in a process of its own: a disk that hangs costs seconds, never SSH.
# shellcheck shell=sh
# shellcheck disable=SC2034,SC3045  # OVERLAY is for boot; ash has read -t

# Controllers behind which a disk takes its time to appear.
slow_disks() {
	for path in "$SYS"/class/mmc_host/* "$SYS"/class/scsi_host/* "$SYS"/class/nvme/*; do
		[ -e "$path" ] && return 0
	done
	return 1
}

# The disk's side of the look. Answers with one line on the FIFO: the folder that holds the overlay, or nothing.
early_copy() {
	mount_early
	REPLY=
	if [ ! -e "$RUN/safe" ] && [ ! -e "$RUN/persist-early/skiff/reset" ]; then
		early_settings
		early_overlay
	fi
	# Opened for both directions: when this comes late nobody reads any more, and persist waits until it is over.
	echo "$REPLY" 1<>"$RUN/early"
}

# What the boot reads of persist, to RAM.
early_settings() {
	cd "$RUN/persist-early/skiff" 2>/dev/null || return 0
	# These are small; whatever they hold, no more than 1 MB is let into RAM. Keys come late: they are the many.
	set --
	for path in clock hostname machine-id ssh/* network/*.conf keys/*.pub wifi/*.conf; do
		[ ! -e "$path" ] || set -- "$@" "$path"
	done
	[ $# = 0 ] || tar -cf - "$@" 2>/dev/null | head -c 1048576 | tar -xof - -C "$SEEN" 2>/dev/null
	# There are passwords in them.
	[ ! -d "$SEEN/wifi" ] || chmod -R go= "$SEEN/wifi"
}

mount_early() {
	cmdline_number skiff.persist_wait 3
	tries=$REPLY
	while :; do
		scan_disks
		[ -z "$PERSIST_DEV" ] || break
		[ "$tries" -gt 0 ] || break
		slow_disks || break
		tries=$((tries - 1))
		pause 1
	done
	! state_takes_safe || : >"$RUN/safe"
	[ -n "$PERSIST_DEV" ] && [ ! -e "$RUN/safe" ] || return 0
	# After a power cut this replays the journal, as fsck would: without it the files written last are not there.
	mount -t ext4 -o ro,nodev,nosuid "/dev/$PERSIST_DEV" "$RUN/persist-early" 2>/dev/null || :
}

# A partition labelled rootfs goes before the folder on persist. Sets REPLY.
early_overlay() {
	REPLY=
	if [ -n "$ROOTFS_DEV" ]; then
		mkdir -p "$RUN/rootfs"
		if mount -t ext4 -o ro,nodev "/dev/$ROOTFS_DEV" "$RUN/rootfs" 2>/dev/null; then
			REPLY=$RUN/rootfs
			return
		fi
		report overlay warn "partition rootfs (/dev/$ROOTFS_DEV) cannot be mounted: skipped" \
			"e2fsck -f /dev/$ROOTFS_DEV"
	fi
	for path in "$RUN"/persist-early/skiff/overlay/* "$RUN"/persist-early/skiff/overlay/.[!.]*; do
		[ -e "$path" ] || [ -L "$path" ] || continue
		REPLY=$RUN/persist-early/skiff/overlay
		return
	done
}

# Sets OVERLAY to the folder to lay over /, if there is one. Takes a fixed number of seconds at most.
early_look() {
	OVERLAY=
	! cmdline skiff.safe || : >"$RUN/safe"
	cmdline_number skiff.persist_wait 3
	limit=$((REPLY + 5))
	# Open before there can be an answer: one that is given while nobody has the FIFO open is lost.
	exec 3<>"$RUN/early"
	early_copy </dev/null >/dev/null 2>&1 3>&- &
	echo $! >"$RUN/early.pid"
	if IFS= read -r -t "$limit" OVERLAY <&3; then
		:
	else
		report persist warn "no answer from the disk within $limit seconds: started without it" \
			"dmesg | tail; is the disk dying?"
	fi
	exec 3>&-
	[ ! -e "$RUN/safe" ] || report safe warn "a safe start: overlay and persist are left out" "reboot for a usual one"
}
