# zram: as much as two thirds of the memory, packed by the best compressor the kernel has. Sourced by services.
# shellcheck shell=sh

swap_on() {
	while read -r name _; do
		case $name in
		/dev/zram*) return ;;
		esac
	done <"$PROC/swaps"
	modprobe -q zram 2>/dev/null
	zram=$SYS/block/zram0
	if [ ! -e "$zram" ]; then
		report swap warn "none: the kernel has no zram"
		return
	fi
	line_of "$zram/comp_algorithm" || :
	method=
	for word in zstd lz4 lzo-rle lzo; do
		case " $REPLY " in
		*" $word "* | *" [$word] "*)
			method=$word
			break
			;;
		esac
	done
	memory MemTotal
	kilobytes=$((REPLY * 2 / 3))
	{
		[ -z "$method" ] || echo "$method" >"$zram/comp_algorithm"
		echo "${kilobytes}K" >"$zram/disksize"
	} 2>/dev/null
	if mkswap /dev/zram0 >/dev/null 2>&1 && swapon /dev/zram0 2>/dev/null; then
		# Pages are cheap to bring back one by one, cheaper than files that have to be unpacked again.
		echo 150 >"$PROC/sys/vm/swappiness"
		echo 0 >"$PROC/sys/vm/page-cluster"
		report swap ok "$((kilobytes / 1024)) MiB in RAM, ${method:-kernel default}"
	else
		report swap warn "zram could not be used" "dmesg"
	fi
}
