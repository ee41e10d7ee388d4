# Checks and mounts the persist partition. Sourced by the persist service.
# shellcheck shell=sh
# shellcheck disable=SC2034  # WHY is for the persist service

# Runs e2fsck with a limit. Sets CODE; what it said first is in $RUN/fsck. False (and WHY set) when it did not end in time.
fsck() {
	cmdline_number skiff.fsck_timeout 1800
	# Of a damaged card it says a hundred megabytes, and this is RAM. It is heard out all the same: SIGPIPE would end it.
	{
		timeout -k 10 "$REPLY" e2fsck "$@" 2>&1 </dev/null
		echo $? >"$RUN/fsck.code"
	} | {
		head -c 65536 >"$RUN/fsck"
		cat >/dev/null
	}
	line_of "$RUN/fsck.code" || REPLY=8
	CODE=$REPLY
	case $CODE in
	# Asked to end, e2fsck adds 32 to what it has done so far.
	3[2-9] | [45]? | 6[0-3] | 124 | 137 | 143)
		WHY="the check of $device did not end in time"
		return 1
		;;
	esac
}

# Whether e2fsck refused because something else has the device.
in_use() {
	[ "$CODE" = 8 ] && grep -q -x -e "$device is in use\." -e "$device is mounted\." "$RUN/fsck"
}

# Checks a device. Sets RESULT to what came of it; false (and WHY set) when it must not be mounted.
persist_check() {
	device=/dev/$1 RESULT=
	fsck -p "$device" || return 1
	while in_use; do
		report persist wait "$device is in use by something else" "what has it: grep $device /proc/mounts"
		pause 5
		fsck -p "$device" || return 1
	done
	case $CODE in
	0) RESULT=clean ;;
	1 | 2) RESULT='small errors corrected' ;;
	*) persist_repair "$device" || return 1 ;;
	esac
	line_of "$RUN/fsck" || :
	case $RESULT:$REPLY in
	clean:*'recovering journal'*) RESULT='journal replayed' ;;
	esac
}

# The careful check gave up: another file system, or damage that needs decisions.
persist_repair() {
	# A superblock that is gone leaves no label; only then may another file system be what stands there.
	ext_label "${1#/dev/}"
	if [ "$REPLY" != persist ] && signature "$1"; then
		case $REPLY in
		ext[234]) ;;
		*)
			WHY="$1 is not ext4 but $REPLY"
			return 1
			;;
		esac
	fi
	report persist wait "repairing $1"
	fsck -f -y "$1" || return 1
	if [ "$CODE" -gt 2 ]; then
		# Places of the first copy of the superblock for blocks of 4 KB and of 1 KB.
		for copy in '32768 4096' '8193 1024'; do
			fsck -f -y -b "${copy% *}" -B "${copy#* }" "$1" || return 1
			[ "$CODE" -gt 2 ] || break
		done
	fi
	if [ "$CODE" -gt 2 ]; then
		WHY="$1 cannot be repaired (e2fsck ended with $CODE)"
		return 1
	fi
	RESULT='damage repaired, look into lost+found'
}

# nodelalloc: what a file holds reaches the disk before the news that it is there. Engines note an image as complete
# without having its files written out; with delayed allocation a power cut then leaves empty programs in it.
persist_mount() {
	mkdir -p "$PERSIST"
	if ! mount -t ext4 -o noatime,nodelalloc,errors=remount-ro "/dev/$1" "$PERSIST" 2>"$RUN/mount"; then
		line_of "$RUN/mount" || :
		WHY="/dev/$1 cannot be mounted: $REPLY"
		return 1
	fi
	# How many errors it has seen so far, for persist_stopped.
	cat "$SYS/fs/ext4/$1/errors_count" >"$RUN/persist.errors" 2>/dev/null
	# The file system follows a partition that has grown, now or when power was cut in between.
	resize2fs "/dev/$1" >/dev/null 2>&1 || :
}

# Whether nothing is written any more because of errors. The mount tells on older kernels only: since Linux 6.12 it stays
# `rw`, and what tells is the count of errors, any of which ends all writing (errors=remount-ro).
persist_stopped() {
	persist_mode
	[ "$REPLY" != ro ] || return 0
	line_of "$RUN/persist.errors" || return 1
	at_mount=$REPLY
	line_of "$SYS/fs/ext4/$1/errors_count" && [ "$REPLY" != "$at_mount" ]
}

# How the mounted persist is: sets REPLY to rw, ro or nothing.
persist_mode() {
	REPLY=
	while read -r _ place _ options _; do
		[ "$place" = "$PERSIST" ] || continue
		REPLY=${options%%,*}
	done <"$PROC/mounts"
}
