# The slots of the boot partition: which runs, what the other holds, what is started next (docs/reference/disk.md).
# Sourced by skiff-slots and the guard.
# shellcheck shell=sh
# shellcheck disable=SC2034,SC2015  # the results are for the scripts that source this file

# shellcheck source=layers/base/rootfs/usr/lib/skiff/slot-state.sh
. "$LIB/slot-state.sh"

BOOT=$RUN/boot
ENTRIES=$BOOT/loader/entries
# Starts that a good slot has until SSH answers once. Several cuts of power in a row must not use them up.
GOOD_TRIES=5
# Not counted: the other slot failed its trial, and is no place to go to after a few starts that were cut short.
ALONE=255

# Sets LOADER once the partition is mounted.
boot_loader() {
	LOADER=none
	if [ -e "$BOOT/loader/loader.conf" ]; then
		LOADER=uefi
	elif [ -e "$BOOT/boot.scr" ]; then
		LOADER=uboot
	fi
}

# While the disk's partitions are being made or grown for persist, none of them may be in use: not even to look.
disk_settled() {
	reported persist
	case $STATE in
	'' | wait) ;;
	*) return 0 ;;
	esac
	line_of "$PROC/uptime" || return 0
	[ "${REPLY%%.*}" -ge 60 ]
}

boot_find() {
	scan_disks
	[ -n "$BOOT_DEV" ]
}

# A cut may have left clusters that belong to nobody.
boot_repair() { fsck.fat -a "/dev/$BOOT_DEV" >"$RUN/boot.fsck" 2>&1; }

boot_mount() { # ro|rw
	mkdir -p "$BOOT"
	modprobe -q vfat
	mount -t vfat -o "$1,noatime,nodev,nosuid,noexec,umask=077" "/dev/$BOOT_DEV" "$BOOT" || return 1
	[ "$1" = ro ] || rm -f "$BOOT"/FSCK*.REC
	boot_loader
}

boot_umount() {
	sync
	umount "$BOOT"
}

# One value of a manifest. Sets REPLY; false, and REPLY empty, when it is not there.
manifest_value() { # FILE WORD
	while read -r word REPLY; do
		[ "$word" != "$2" ] || return 0
	done 2>/dev/null <"$1"
	REPLY=
	return 1
}

# UEFI's entry of a slot. Sets REPLY to its path; false when there is none.
entry_of() { # SLOT
	for REPLY in "$ENTRIES/skiff-$1.conf" "$ENTRIES/skiff-$1+"*.conf; do
		[ ! -e "$REPLY" ] || return 0
	done
	REPLY=
	return 1
}

# Its version; 0 when there is none, or no try left. Sets REPLY.
entry_version() { # SLOT
	entry_of "$1" || REPLY=+0.conf
	case $REPLY in
	*+0.conf | *+0-*.conf) REPLY=0 ;;
	*) manifest_value "$REPLY" version || REPLY=0 ;;
	esac
}

# What is to be said of a slot. Sets SLOT_STATE to empty, good, trial, bad, or spare for one that is whole and
# not to be started next; TRIES for one on trial. The partition is mounted; for U-Boot the state was read.
slot_look() { # SLOT
	SLOT_STATE=empty TRIES=''
	[ -d "$BOOT/$1" ] && [ -e "$BOOT/$1/kernel" ] || return 0
	SLOT_STATE=spare
	if [ "$LOADER" = uefi ]; then
		entry_look "$1"
	elif [ "$ST_SLOT" = "$1" ]; then
		case $ST_MARK:$ST_TRIES in
		t:0) if [ "$RUNNING" = "$1" ]; then SLOT_STATE=trial TRIES=0; else SLOT_STATE=bad; fi ;;
		t:*) SLOT_STATE=trial TRIES=$ST_TRIES ;;
		g:0) if [ "$RUNNING" = "$1" ]; then SLOT_STATE=good; else SLOT_STATE=bad; fi ;;
		*) SLOT_STATE=good ;;
		esac
	fi
}

entry_look() { # SLOT
	entry_of "$1" || return 0
	case ${REPLY##*/} in
	*+*)
		TRIES=${REPLY##*+}
		TRIES=${TRIES%.conf}
		TRIES=${TRIES%%-*}
		SLOT_STATE=trial
		[ "$TRIES" != 0 ] || [ "$RUNNING" = "$1" ] || SLOT_STATE=bad
		return
		;;
	esac
	entry_version "$1"
	mine=$REPLY
	other=a
	[ "$1" != a ] || other=b
	entry_version "$other"
	[ "$mine" -lt "$REPLY" ] || SLOT_STATE=good
}

# Nothing starts this slot any more.
slot_disarm() { # SLOT
	if [ "$LOADER" = uefi ]; then
		rm -f "$ENTRIES/skiff-$1.conf" "$ENTRIES/skiff-$1+"*.conf
	else
		[ "$ST_SLOT" != "$1" ] || state_write "$RUNNING" $GOOD_TRIES g
	fi
	sync
}

# This slot is started next, so many times at most unless it is confirmed; and it has so many seconds for that.
slot_try() { # SLOT TRIES SECONDS
	echo "$3" >"$BOOT/$1/trial"
	sync
	if [ "$LOADER" = uboot ]; then
		state_write "$1" "$2" t
		return
	fi
	entry_version a
	newest=$REPLY
	entry_version b
	[ "$REPLY" -le "$newest" ] || newest=$REPLY
	manifest_value "$BOOT/$1/manifest" cmdline
	rm -f "$ENTRIES/skiff-$1.conf" "$ENTRIES/skiff-$1+"*.conf
	# The loader reads names that end in .conf only: never one half-written.
	cat >"$ENTRIES/skiff-$1.new" <<-END
		title Skiff, slot $1
		sort-key skiff
		version $((newest + 1))
		linux /$1/kernel
		initrd /$1/initramfs
		options $REPLY skiff.slot=$1
	END
	sync
	mv "$ENTRIES/skiff-$1.new" "$ENTRIES/skiff-$1+$2.conf"
}

# The slot that runs is good: no more trial.
slot_confirm() {
	if [ "$LOADER" = uboot ]; then
		state_write "$RUNNING" $GOOD_TRIES g
	elif entry_of "$RUNNING" && [ "${REPLY##*/}" != "skiff-$RUNNING.conf" ]; then
		mv "$REPLY" "$ENTRIES/skiff-$RUNNING.conf"
	fi
	[ "$LOADER" != uefi ] || slot_last_word
}

# On UEFI the entry of the highest version is started. One that was ordered since goes; its slot stays.
slot_last_word() {
	entry_version "$RUNNING"
	mine=$REPLY
	entry_version "$OTHER"
	[ "$REPLY" -le "$mine" ] || slot_disarm "$OTHER"
}
