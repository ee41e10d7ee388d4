# Loads the drivers of what is plugged in, by the names that the hardware gives itself (modalias).
# Sourced by boot (network and disks, before SSH) and by late (everything else, after SSH).
# shellcheck shell=sh
# shellcheck disable=SC3045  # ash has read -t

# Every modalias asked for so far, one a line, so that none is asked for twice.
ASKED=$NL
LOOKED_AT=
# What loadable drivers answer to, as globs: all that there is, until find_drivers knows better.
DRIVERS='*'
# How long boot waits for another driver to be done, in seconds, and which were not by then: disks, others.
DRIVERS_LIMIT=10
LATE=' '

# Adds an alias to WANTED that was not asked for yet.
want() {
	case $1 in
	# Globs of the shell must not be seen in an alias; hardware can say what it wants.
	*[*?[]*) return ;;
	esac
	case $ASKED in
	*"$NL$1$NL"*) return ;;
	esac
	any_driver "$1" || return 0
	ASKED=$ASKED$1$NL
	WANTED="$WANTED $1"
}

# The same, for what a network card or a disk can hang on.
want_first() {
	case $1 in
	# Classes: 01 storage, 02 network, 0c serial buses (USB), 08 base peripherals (card readers); virtio.
	pci:*bc01* | pci:*bc02* | pci:*bc0C* | pci:*bc08* | pci:v00001AF4*) want "$1" ;;
	# Sound, display and the like are left for later.
	pci:*) ;;
	*) want "$1" ;;
	esac
}

# Adds what modalias files say. One program reads them all: `read` takes a system call for each letter of fifty files.
collect() { # want|want_first FILE…
	take=$1
	shift
	set -f
	# shellcheck disable=SC2013  # words, for no alias has a space
	for alias in $(cat "$@" 2>/dev/null); do
		"$take" "$alias"
	done
	set +f
}

collect_first() {
	WANTED=
	set -- "$SYS"/bus/pci/devices/*/modalias "$SYS"/bus/virtio/devices/*/modalias \
		"$SYS"/bus/usb/devices/*/modalias "$SYS"/bus/mmc/devices/*/modalias \
		"$SYS"/bus/sdio/devices/*/modalias "$SYS"/bus/scsi/devices/*/modalias
	# Boards described by a device tree have their controllers here; a PC has hundreds of others.
	[ ! -d "$PROC/device-tree" ] ||
		set -- "$@" "$SYS"/bus/platform/devices/*/modalias "$SYS"/bus/i2c/devices/*/modalias
	# The same devices as before: what they want was asked for.
	[ "$*" != "$LOOKED_AT" ] || return 0
	LOOKED_AT=$*
	collect want_first "$@"
}

# A kernel from source has nearly all of its drivers built in: the few that are modules are known here then, and
# modprobe is not started for nothing. Where there are more, it is asked.
find_drivers() {
	line_of "$PROC/sys/kernel/osrelease" || return 0
	aliases=$ROOT/lib/modules/$REPLY/modules.alias
	[ -r "$aliases" ] || return 0
	DRIVERS=
	few=8
	while read -r word alias _; do
		[ "$word" = alias ] || continue
		few=$((few - 1))
		if [ $few -lt 0 ]; then
			DRIVERS='*'
			break
		fi
		DRIVERS="$DRIVERS $alias"
	done <"$aliases"
}

# Whether there is a driver to load for an alias. Runs without globs of files (collect).
any_driver() {
	for pattern in $DRIVERS; do
		# shellcheck disable=SC2254  # a glob it is
		case $1 in
		$pattern) return 0 ;;
		esac
	done
	return 1
}

# A driver brings new devices (a bus, a hub), so it is asked again until nothing new turns up, four times at most.
coldplug_first() {
	find_drivers
	[ -n "$DRIVERS" ] || return 0
	for _ in 1 2 3 4; do
		collect_first
		[ -n "$WANTED" ] || break
		load_first
	done
	[ "$LATE" = ' ' ] || printf %s "$ASKED" >"$RUN/late-drivers"
}

# Loads drivers of disks beside all others: a signature takes a CPU longer than all else that loading a module does.
# Cards keep their order, and so their names.
load_first() {
	disks='' others=''
	for alias in $WANTED; do
		case $alias in
		# virtio: 2 disks, 4 random numbers, 8 SCSI. And virtio without PCI: its devices turn up in the next round.
		pci:*bc01* | virtio:d0000000[248]* | of:Nvirtio_mmio*) disks="$disks $alias" ;;
		*) others="$others $alias" ;;
		esac
	done
	# Opened for both directions: neither side waits for the other one to open it.
	exec 3<>"$RUN/drivers"
	LOADING=' '
	# shellcheck disable=SC2086  # one word per alias
	load_beside disks $disks
	# shellcheck disable=SC2086
	load_beside others $others
	until_loaded
	exec 3>&-
}

load_beside() { # disks|others ALIAS…
	[ $# != 1 ] || return 0
	case $LATE in
	*" $1 "*) ;;
	*) LOADING="$LOADING$1 " ;;
	esac
	{
		kind=$1
		shift
		modprobe -abq "$@"
		echo "$kind" >&3
	} 2>/dev/null &
}

# A driver may hang with its device: virtio's reads the partition table of a disk before it is done. Those that are
# not done in time are waited for no more, in later rounds neither.
until_loaded() {
	while [ "$LOADING" != ' ' ]; do
		if IFS= read -r -t $DRIVERS_LIMIT kind <&3; then
			case $LOADING in
			*" $kind "*) LOADING=${LOADING%%" $kind "*}' '${LOADING#*" $kind "} ;;
			esac
			continue
		fi
		LATE="$LATE$LOADING"
		say "drivers of${LOADING% } are not done within $DRIVERS_LIMIT seconds: started without them"
		return
	done
}

# All again, for an overlay may have brought drivers; but nothing that may still hang.
coldplug_rest() {
	WANTED=
	[ ! -r "$RUN/late-drivers" ] || ASKED=$(cat "$RUN/late-drivers")$NL
	collect want "$SYS"/bus/*/devices/*/modalias
	# shellcheck disable=SC2086  # one word per alias
	[ -z "$WANTED" ] || modprobe -abq $WANTED 2>/dev/null
	while read -r module; do
		[ -z "$module" ] || modprobe -q "$module" 2>/dev/null || say "module $module could not be loaded"
	done <"$ETC/skiff/modules"
}
