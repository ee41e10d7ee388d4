# Finds the partitions labelled `persist` and `rootfs`, on the boot disk first. Reads only; sourced by boot and persist.
# shellcheck shell=sh
# shellcheck disable=SC2034  # the results are for the scripts that source this file

# Label of an ext file system: 16 bytes at 1144 of the device (1024 for the superblock, 120 within it). Sets REPLY.
ext_label() {
	REPLY=$(dd if="$ROOT/dev/$1" bs=8 skip=143 count=2 2>/dev/null)
}

# Whether a partition is the FAT one that the bootloader reads (its label stands in the first sector).
is_boot_fat() {
	case $(dd if="$ROOT/dev/$1" bs=512 count=1 2>/dev/null) in
	*SKIFFBOOT*FAT*) return 0 ;;
	esac
	return 1
}

# Name that a partition has in its GPT. Sets REPLY, empty when it has none.
part_name() {
	REPLY=
	while IFS='=' read -r key value; do
		[ "$key" != PARTNAME ] || REPLY=$value
	done <"$1/uevent"
}

# One partition or disk without partitions: puts it under the label it carries.
consider() { # PATH_IN_SYS DISK
	device=${1##*/}
	part_name "$1"
	case $REPLY in
	persist | rootfs | boot | SKIFFBOOT) label=$REPLY ;;
	# One that a power cut left half-made; made anew by the persist step.
	persist-new) return ;;
	*)
		ext_label "$device"
		label=$REPLY
		[ -n "$label" ] || ! is_boot_fat "$device" || label=SKIFFBOOT
		;;
	esac
	case $label in
	persist) PERSISTS="$PERSISTS $2:$device" ;;
	rootfs) ROOTFSES="$ROOTFSES $2:$device" ;;
	SKIFFBOOT) [ -n "$OUR_BOOT" ] || BOOT_DISK=$2 BOOT_DEV=$device OUR_BOOT=yes ;;
	# A name that others give, too.
	boot) [ -n "$BOOT_DISK" ] || BOOT_DISK=$2 BOOT_DEV=$device ;;
	esac
}

# The first of DISK:DEVICE… that is on a wanted disk, else the first of all. Sets REPLY to the device.
prefer() { # LIST DISK…
	list=$1
	shift
	for disk; do
		for pair in $list; do
			if [ "${pair%%:*}" = "$disk" ]; then
				REPLY=${pair#*:}
				return 0
			fi
		done
	done
	REPLY=${list# }
	REPLY=${REPLY%% *}
	REPLY=${REPLY#*:}
	[ -n "$REPLY" ]
}

# Looks at every disk once. Sets PERSIST_DEV and ROOTFS_DEV (empty when not there), BOOT_DISK with BOOT_DEV, and DISKS.
scan_disks() {
	PERSISTS='' ROOTFSES='' BOOT_DISK='' BOOT_DEV='' OUR_BOOT='' DISKS='' PERSIST_DEV='' ROOTFS_DEV='' WANTED_DISK=''
	if cmdline skiff.persist; then
		WANTED_DISK=${REPLY#/dev/}
	fi
	for path in "$SYS"/block/*; do
		disk=${path##*/}
		case $disk in
		loop* | ram* | zram* | sr* | fd* | mtdblock* | nbd* | mmcblk*boot? | mmcblk*rpmb | '*') continue ;;
		esac
		DISKS="$DISKS $disk"
		whole=yes
		for part in "$path/$disk"*; do
			[ -e "$part/partition" ] || continue
			whole=
			consider "$part" "$disk"
		done
		[ -z "$whole" ] || consider "$path" "$disk"
	done
	prefer "$ROOTFSES" "$BOOT_DISK" && ROOTFS_DEV=$REPLY
	# A partition may be named outright; then its label does not matter.
	if [ -n "$WANTED_DISK" ] && [ -e "$SYS/class/block/$WANTED_DISK/partition" ]; then
		PERSIST_DEV=$WANTED_DISK
	elif prefer "$PERSISTS" "$WANTED_DISK" "$BOOT_DISK"; then
		PERSIST_DEV=$REPLY
	fi
}
