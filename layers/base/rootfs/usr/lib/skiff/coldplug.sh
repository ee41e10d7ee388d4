# Loads the drivers of what is plugged in, by the names that the hardware gives itself (modalias).
# Sourced by boot (network and disks, before SSH) and by late (everything else, after SSH).
# shellcheck shell=sh

# Every modalias asked for so far, one a line, so that none is asked for twice.
ASKED=$NL

# Adds what the given modalias files say and was not asked for yet to WANTED.
collect() {
	for file; do
		alias=
		read -r alias 2>/dev/null <"$file" || continue
		case $alias in
		'') continue ;;
		# Globs of the shell must not be seen in an alias; hardware can say what it wants.
		*[*?[]*) continue ;;
		esac
		case $ASKED in
		*"$NL$alias$NL"*) continue ;;
		esac
		ASKED=$ASKED$alias$NL
		WANTED="$WANTED $alias"
	done
}

# What a network card or a disk can hang on. PCI devices of other classes (sound, display …) are left for later.
collect_first() {
	WANTED=
	for file in "$SYS"/bus/pci/devices/*/modalias; do
		alias=
		read -r alias 2>/dev/null <"$file" || continue
		case $alias in
		# Classes: 01 storage, 02 network, 0c serial buses (USB), 08 base peripherals (card readers); virtio.
		*bc01* | *bc02* | *bc0C* | *bc08* | pci:v00001AF4*) collect "$file" ;;
		esac
	done
	collect "$SYS"/bus/virtio/devices/*/modalias "$SYS"/bus/usb/devices/*/modalias \
		"$SYS"/bus/mmc/devices/*/modalias "$SYS"/bus/sdio/devices/*/modalias \
		"$SYS"/bus/scsi/devices/*/modalias
	# Boards described by a device tree have their controllers here; a PC has hundreds of others.
	[ ! -d "$PROC/device-tree" ] || collect "$SYS"/bus/platform/devices/*/modalias "$SYS"/bus/i2c/devices/*/modalias
}

# A driver brings new devices (a bus, a hub), so it is asked again until nothing new turns up, four times at most.
coldplug_first() {
	for _ in 1 2 3 4; do
		collect_first
		[ -n "$WANTED" ] || break
		# shellcheck disable=SC2086  # one word per alias
		modprobe -abq $WANTED 2>/dev/null
	done
}

coldplug_rest() {
	WANTED=
	collect "$SYS"/bus/*/devices/*/modalias
	# shellcheck disable=SC2086  # one word per alias
	[ -z "$WANTED" ] || modprobe -abq $WANTED 2>/dev/null
	while read -r module; do
		[ -z "$module" ] || modprobe -q "$module" 2>/dev/null || say "module $module could not be loaded"
	done <"$ETC/skiff/modules"
}
