# Makes the persist partition on first boot, and lets it grow. Never touches a byte that something else may own.
# Sourced by the persist service, which runs after SSH.
# shellcheck shell=sh
# shellcheck disable=SC2034  # WHY is for the persist service

# Less room than this (MiB) is not worth a partition, nor the growing of one.
LEAST=64

# Whether a region of a device holds nothing but zeros. One that cannot be read may hold anything.
zeros() { # DEVICE FIRST_SECTOR SECTORS
	dd if="$1" bs=512 skip="$2" count="$3" 2>/dev/null >"$RUN/region" || return 1
	[ "$(stat -c %s "$RUN/region")" = $(($3 * 512)) ] || return 1
	tr -d '\0' <"$RUN/region" | head -c 1 >"$RUN/zeros"
	rm -f "$RUN/region"
	[ ! -s "$RUN/zeros" ]
}

# What a device holds from a byte on, as libblkid knows it ("xfs", "gpt"). Sets REPLY; false when nothing known.
signature() { # DEVICE [OFFSET]
	found=$(blkid -p -O "${2-0}" -o export "$1" 2>/dev/null)
	code=$?
	REPLY=
	while IFS='=' read -r key value; do
		case $key in
		TYPE | PTTYPE) REPLY=${REPLY:+$REPLY, }$value ;;
		esac
	done <<-FOUND
		$found
	FOUND
	case $code in
	# Several at once: blkid names none of them.
	8) REPLY='several file systems' ;;
	esac
	[ -n "$REPLY" ]
}

sectors_of() {
	line_of "$SYS/class/block/$1/size" || REPLY=0
}

# A disk that was never used; or one where a power cut hit while the first partition table was being written.
# That is known by the name of our unfinished partition in the table's copy at the end (34 and 33 sectors: GPT's tables).
is_blank() { # DISK
	sectors_of "$1"
	size=$REPLY device=$ROOT/dev/$1
	[ "$size" -gt 8192 ] || return 1
	zeros "$device" 34 2014 && zeros "$device" $((size - 2048)) 2015 || return 1
	zeros "$device" 0 34 && zeros "$device" $((size - 33)) 33 && return 0
	case $(dd if="$device" bs=512 skip=$((size - 33)) count=32 2>/dev/null) in
	*persist-new*) return 0 ;;
	esac
	return 1
}

# A GPT that came with a disk image ends where the image did, its copy stands there, and sfdisk sees no room behind
# it: the copy is moved to the end of the disk. It is written before the table that names its new place.
reach_end() { # DISK
	[ -n "$LAST" ] || return 0
	sectors_of "$1"
	[ $((REPLY / unit - LAST)) -gt 2048 ] || return 0
	sfdisk -q --relocate gpt-bak-std "/dev/$1" >/dev/null 2>&1
}

# The largest unallocated region of a disk: sets START, in sectors of that disk, and SECTORS (512 bytes each).
free_region() {
	START=0 SECTORS=0
	line_of "$SYS/block/$1/queue/logical_block_size" || REPLY=512
	unit=$((REPLY / 512))
	reach_end "$1"
	while read -r start end sectors _; do
		case $start$end$sectors in
		'' | *[!0-9]*) continue ;;
		esac
		if [ "$sectors" -gt "$SECTORS" ]; then
			START=$start SECTORS=$sectors
		fi
	done <<-FREE
		$(sfdisk --list-free --output Start,End,Sectors "/dev/$1" 2>/dev/null)
	FREE
	SECTORS=$((SECTORS * unit))
	[ "$SECTORS" -gt $((LEAST * 2048)) ]
}

# Whether a partition marked as ours is still as creation left it, and nobody has put it to use. mke2fs writes the
# superblock after all else.
half_made() { # PART
	ext_label "$1"
	[ "$REPLY" != persist ] || return 0
	! signature "/dev/$1" || return 1
	# A name that is ours is proof enough. Others have data of their own under the type, known to nobody.
	[ "$LABEL" != dos ] || zeros "/dev/$1" 0 3
}

# The partition of a disk that creation left unfinished. Sets PART (vda3) and NUMBER.
unfinished() {
	for path in "$SYS/block/$1/$1"*; do
		line_of "$path/partition" || continue
		NUMBER=$REPLY PART=${path##*/}
		part_name "$path"
		# A table of the old kind has no names: our mark there is the type.
		[ "$LABEL" != dos ] || REPLY=$(sfdisk --part-type "/dev/$1" "$NUMBER" 2>/dev/null)
		case $LABEL:$REPLY in
		gpt:persist-new | dos:da) ! half_made "$PART" || return 0 ;;
		esac
	done
	return 1
}

# Kind of a disk's partition table, and for a GPT the last sector that it covers. Sets LABEL and LAST.
table_of() {
	LABEL='' LAST=
	dump=$(sfdisk --dump "/dev/$1" 2>/dev/null)
	case $dump in
	*'label: gpt'*)
		LABEL=gpt
		LAST=${dump#*"last-lba: "}
		LAST=${LAST%%[!0-9]*}
		;;
	*'label: dos'*) LABEL=dos ;;
	esac
}

# What stood in a free region before: sets REPLY, false when nothing. FOUND_LABEL is its label if it is ext4.
old_content() { # DISK FIRST_SECTOR
	FOUND_LABEL=$(dd if="/dev/$1" bs=8 skip=$(($2 * 64 + 143)) count=2 2>/dev/null)
	signature "/dev/$1" $(($2 * 512)) && return 0
	# A disk that does not let it be read is not known to hold nothing.
	REPLY='it cannot be read'
	! dd if="/dev/$1" bs=512 skip="$2" count=2048 2>/dev/null >/dev/null
}

# persist_create DISK: makes and formats the partition. Sets WHY when it did not; false then.
persist_create() {
	disk=$1 WHY=
	line_of "$SYS/block/$disk/ro" || REPLY=1
	[ "$REPLY" = 0 ] || {
		WHY="/dev/$disk is read-only"
		return 1
	}
	table_of "$disk"
	if [ -z "$LABEL" ]; then
		if ! is_blank "$disk"; then
			signature "/dev/$disk" || REPLY=data
			WHY="/dev/$disk has no partition table but holds something ($REPLY): left alone"
			return 1
		fi
		say "persist: new partition table on /dev/$disk"
		printf 'label: gpt\nname=persist-new, type=linux\n' |
			sfdisk -q --wipe always --wipe-partitions always "/dev/$disk" >/dev/null 2>&1
		table_of "$disk"
	elif ! unfinished "$disk"; then
		if ! free_region "$disk"; then
			WHY="no partition labelled persist, and /dev/$disk has no $LEAST MiB unallocated"
			return 1
		fi
		if old_content "$disk" $((START * unit)); then
			if [ "$FOUND_LABEL" != persist ]; then
				WHY="unallocated room on /dev/$disk holds old data ($REPLY): left alone"
				return 1
			fi
			# The card was written anew: what persist held is still there. Once grown, it reaches to the last
			# sector; sfdisk would round a size of its own choice down, and cut the file system's end off.
			say "persist: taking back the partition that stood on /dev/$disk before"
			add_partition "$disk" persist 83 ", size=$((SECTORS / unit))"
			return
		fi
		say "persist: new partition on /dev/$disk"
		empty_start "$disk" && add_partition "$disk" persist-new da || return 1
	fi
	settle "$disk" || {
		WHY="the new partition on /dev/$disk does not appear"
		return 1
	}
	report persist wait "making a file system on /dev/$PART"
	if ! /usr/sbin/mke2fs -q -F -t ext4 -L persist -m 1 -E lazy_itable_init=1,lazy_journal_init=1 "/dev/$PART" >/dev/null 2>&1; then
		WHY="mke2fs failed on /dev/$PART"
		return 1
	fi
	sync
	# From here on it is persist; before, it would have been made anew.
	if [ "$LABEL" = gpt ]; then
		sfdisk -q --part-label "/dev/$disk" "$NUMBER" persist >/dev/null 2>&1
	else
		sfdisk -q --part-type "/dev/$disk" "$NUMBER" 83 >/dev/null 2>&1
	fi
	sync
}

# Where the superblock will be: what stood there is nothing that is known, and would hide whose partition it is.
empty_start() { # DISK
	if ! dd if=/dev/zero of="/dev/$1" bs=512 seek=$((START * unit)) count=3 conv=notrunc,fsync 2>/dev/null; then
		WHY="/dev/$1 cannot be written"
		return 1
	fi
}

add_partition() { # DISK NAME TYPE [SIZE]
	if [ "$LABEL" = gpt ]; then
		line="start=$START${4-}, name=$2, type=linux"
	else
		line="start=$START${4-}, type=$3"
	fi
	if ! echo "$line" | sfdisk -q --append --wipe never --wipe-partitions never "/dev/$1" >/dev/null 2>&1; then
		WHY="sfdisk could not add a partition to /dev/$1"
		return 1
	fi
}

# Waits for the kernel to show the new partition.
settle() {
	for _ in 1 2 3 4 5; do
		unfinished "$1" && return 0
		pause 1
		blockdev --rereadpt "/dev/$1" 2>/dev/null
	done
	return 1
}

# Lets the last partition of a disk reach the end of the disk. Nothing of that disk is mounted at this time.
persist_grow() { # PART
	line_of "$SYS/class/block/$1/partition" || return 0
	number=$REPLY
	for path in "$SYS"/block/*/"$1"; do
		disk=${path%/*}
		disk=${disk##*/}
	done
	line_of "$path/start" || return 0
	start=$REPLY
	line_of "$path/size" || return 0
	end=$((start + REPLY))
	for path in "$SYS/block/$disk/$disk"*; do
		line_of "$path/start" && [ "$REPLY" -gt "$start" ] && return 0
	done
	sectors_of "$disk"
	# The copy of a GPT takes the last 33 sectors; a MiB is left to it.
	[ $((REPLY - end)) -gt $((LEAST * 2048 + 2048)) ] || return 0
	say "persist: growing /dev/$1 to the end of /dev/$disk"
	table_of "$disk"
	[ "$LABEL" != gpt ] || sfdisk -q --relocate gpt-bak-std "/dev/$disk" >/dev/null 2>&1
	echo ", +" | sfdisk -q -N "$number" --wipe never --wipe-partitions never "/dev/$disk" >/dev/null 2>&1 ||
		say "persist: /dev/$1 could not be grown"
}
