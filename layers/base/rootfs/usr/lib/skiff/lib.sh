# Sourced by every script of the device: where things are, and how a step reports what came of it.
# shellcheck shell=sh
# shellcheck disable=SC2034,SC3045  # the paths are for the scripts that source this file; ash has read -t

# Empty on a device; the tests point it at a folder that stands in for the whole machine.
ROOT=${SKIFF_ROOT-}

RUN=$ROOT/run/skiff
STATUS=$RUN/status
LIB=$ROOT/usr/lib/skiff
ETC=$ROOT/etc
SYS=$ROOT/sys
PROC=$ROOT/proc
# The image as it was built, read-only, below everything written since.
IMAGE=$RUN/image
PERSIST=$ROOT/mnt/persist
# Copies in RAM of what persist held for the boot; nothing on the way to SSH reads the disk itself.
SEEN=$RUN/seen
KEYS=$ROOT/root/.ssh/authorized_keys

TAB='	'
NL='
'

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
umask 022

# report UNIT STATE TEXT [HINT]: what skiff-status shows. STATE is ok, wait, warn or fail.
report() {
	printf '%s\t%s\t%s\n' "$2" "$3" "${4-}" >"$STATUS/$1"
	case $2 in
	warn | fail) say "$1: $3" ;;
	esac
}

# State of a unit, as last reported: sets STATE, TEXT and HINT, all empty when nothing was reported.
# The fields are split by hand: read takes several tabs as one.
reported() {
	STATE='' TEXT='' HINT=''
	[ -r "$STATUS/$1" ] || return 0
	line=''
	IFS= read -r line <"$STATUS/$1" || :
	STATE=${line%%"$TAB"*}
	line=${line#*"$TAB"}
	TEXT=${line%%"$TAB"*}
	HINT=${line#*"$TAB"}
}

# To the kernel's log: there from the first moment, and picked up by the system log. As an error (3) it is shown on
# the console too, which under `quiet` leaves out warnings.
say() { { echo "<3>skiff: $*" >"$ROOT/dev/kmsg"; } 2>/dev/null || :; }

# When a step was reached, for `skiff.trace` on the kernel's command line.
TRACE=
[ ! -e "$RUN/trace" ] || TRACE=yes
trace() { [ -z "${TRACE-}" ] || { echo "<4>skiff-trace: $*" >"$ROOT/dev/kmsg"; } 2>/dev/null; }

# Value of WORD=value on the kernel's command line; the last one wins. Sets REPLY; false when it is not there.
cmdline() {
	REPLY=
	[ -n "${CMDLINE+x}" ] || IFS= read -r CMDLINE <"$PROC/cmdline" || :
	case " $CMDLINE " in
	*" $1="*)
		REPLY=" $CMDLINE "
		REPLY=${REPLY##*" $1="}
		REPLY=${REPLY%% *}
		;;
	*" $1 "*) ;;
	*) return 1 ;;
	esac
}

# As cmdline, for a number; DEFAULT when it is missing or not a number.
cmdline_number() {
	cmdline "$1" || :
	case $REPLY in
	'' | *[!0-9]* | ???????*) REPLY=$2 ;;
	esac
}

# Wait SECONDS without starting a program. The FIFO is never written to.
pause() {
	[ -p "$RUN/never" ] || mkfifo "$RUN/never" 2>/dev/null || :
	# Opened for both directions: opening it for reading alone would wait for a writer.
	IFS= read -r -t "$1" _ <>"$RUN/never" || :
}

# One line of a small file. Sets REPLY; false (and REPLY empty) when there is none. A FIFO would be waited at for ever.
line_of() {
	REPLY=
	[ -f "$1" ] && [ -r "$1" ] || return 1
	IFS= read -r REPLY 2>/dev/null <"$1" || [ -n "$REPLY" ]
}

# What the kernel says of memory, as MemTotal: sets REPLY to KB, 0 when it says nothing.
memory() { # NAME
	while read -r name REPLY _; do
		[ "$name" != "$1:" ] || return 0
	done <"$PROC/meminfo"
	REPLY=0
}

# Seconds since the kernel started, whatever happens to the clock. Sets REPLY.
seconds_up() {
	read -r REPLY _ <"$PROC/uptime"
	REPLY=${REPLY%%.*}
}

# How many seconds ago a process started. Sets AGE.
age() { # PID
	line_of "$PROC/$1/stat" || return 1
	# After the name, which is in brackets; ticks are hundredths of a second for every program.
	# shellcheck disable=SC2086
	set -- ${REPLY##*) }
	[ $# -ge 20 ] || return 1
	shift 19
	started=$(($1 / 100))
	seconds_up
	AGE=$((REPLY - started))
}
