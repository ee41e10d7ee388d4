# What skiff-status gathers and prints. Mostly builtins, so that a log-in does not wait for it.
# shellcheck shell=sh
# shellcheck disable=SC3013  # ash has -nt

# shellcheck source=layers/base/rootfs/usr/lib/skiff/clock.sh
. "$LIB/clock.sh"
# shellcheck source=layers/base/rootfs/usr/lib/skiff/persist-room.sh
. "$LIB/persist-room.sh"

# Lines `unit TAB state TAB text TAB hint`, in the order they are shown. FAILED is set when one of them failed.
LINES='' FAILED=''

add() { # UNIT STATE TEXT HINT
	LINES="$LINES$1$TAB$2$TAB$3$TAB${4-}$NL"
	[ "$2" != fail ] || FAILED=yes
}

add_reported() { # UNIT
	reported "$1"
	[ -z "$STATE" ] || add "${2-$1}" "$STATE" "$TEXT" "$HINT"
}

# Seconds as days, hours, minutes. Sets REPLY.
span() {
	if [ "$1" -ge 86400 ]; then
		REPLY="$(($1 / 86400)) d $(($1 % 86400 / 3600)) h"
	elif [ "$1" -ge 3600 ]; then
		REPLY="$(($1 / 3600)) h $(($1 % 3600 / 60)) min"
	else
		REPLY="$(($1 / 60)) min $(($1 % 60)) s"
	fi
}

gather_system() {
	line_of "$ETC/skiff/version" || REPLY=
	version=$REPLY
	layers=
	while read -r line; do
		layers="$layers $line"
	done 2>/dev/null <"$ETC/skiff/layers"
	add system ok "Skiff${version:+ $version}${layers:+, layers$layers}"
	read -r uptime _ <"$PROC/uptime"
	span "${uptime%%.*}"
	add uptime ok "$REPLY"
	line_of "$PROC/sys/kernel/hostname" || REPLY=
	name=$REPLY
	reported hostname
	add hostname "${STATE:-ok}" "${TEXT:-$name}" "$HINT"
	total=0 free=0
	while read -r key value _; do
		case $key in
		MemTotal:) total=$((value / 1024)) ;;
		MemAvailable:)
			free=$((value / 1024))
			break
			;;
		esac
	done <"$PROC/meminfo"
	add memory ok "$free of $total MiB available"
}

gather_network() {
	count=0
	for file in "$STATUS"/net.*; do
		[ -e "$file" ] || continue
		count=$((count + 1))
		add_reported "${file##*/}" "network ${file##*/net.}"
	done
	[ "$count" != 0 ] || add network fail "no wired interface" "lsmod; dmesg: is its driver in the image?"
}

gather_persist() {
	reported persist
	if [ "$STATE" = ok ] || [ "$STATE" = warn ]; then
		persist_room
		TEXT="$TEXT; $FREE of $SIZE MiB free"
		if persist_is_full; then
			STATE=fail TEXT="$TEXT: full" HINT="make room: skiff-doctor, or delete in $PERSIST"
		elif persist_runs_short && [ "$STATE" = ok ]; then
			STATE=warn TEXT="$TEXT: nearly full" HINT="make room: skiff-doctor, or delete in $PERSIST"
		fi
		# The kernel's count, until a check has mended them.
		line_of "$RUN/persist" || :
		if line_of "$SYS/fs/ext4/${REPLY:-none}/errors_count" && [ "$REPLY" != 0 ] && [ "$STATE" = ok ]; then
			STATE=warn TEXT="$TEXT; errors: $REPLY" HINT="dmesg; the disk may be dying: back it up; reboot for a check"
		fi
	fi
	add persist "${STATE:-wait}" "${TEXT:-not looked at yet}" "$HINT"
}

gather_clock() {
	clock_tracking
	now=$(date -u '+%Y-%m-%d %H:%M:%S UTC')
	case $REPLY in
	*Normal*) synced="in step with network time" ;;
	*) synced="not yet in step with network time" ;;
	esac
	# Three questions that nobody answered. Only the service without chronyd tells of the last answer.
	last=${REPLY#Normal }
	case $last in
	'' | *[!0-9]*) ;;
	*)
		since=$((${uptime%%.*} - last))
		[ "$since" -le 5400 ] || { span "$since" && synced="last in step with network time $REPLY ago"; }
		;;
	esac
	reported clock
	if [ "$STATE" = warn ]; then
		add clock warn "$now, $synced; $TEXT" "$HINT"
	else
		add clock ok "$now, $synced"
	fi
}

gather_engine() {
	engine=
	line_of "$ETC/skiff/engine" && engine=$REPLY
	[ -n "$engine" ] || return 0
	reported engine
	running=0
	for path in /run/docker/runtime-runc/moby/* /run/crun/*; do
		[ -d "$path" ] && running=$((running + 1))
	done
	case $STATE in
	ok | warn) TEXT="$TEXT, $running running" ;;
	esac
	add engine "${STATE:-wait}" "${TEXT:-not started yet}" "$HINT"
}

# Whether a file is of the last seconds; one of the future tells only that the clock was put back since.
just_made() { [ "$1" -nt "$RUN/recent" ] && ! [ "$1" -nt "$RUN/now" ]; }

# Services that are down, or were started again within the last seconds though the device is up for long.
gather_services() {
	down='' young='' count=0
	for path in "$ETC"/service/*; do
		[ -x "$path/run" ] || continue
		# Done, or with nothing to do for now, as it says itself.
		[ ! -e "$path/idle" ] || continue
		count=$((count + 1))
		line_of "$path/supervise/stat" || REPLY=missing
		case $REPLY in
		run*) ;;
		*) down="$down ${path##*/}" ;;
		esac
		# The engine's own line tells of its ends.
		[ "${path##*/}" != "$engine" ] || continue
		if [ -s "$path/supervise/pid" ] && [ "${uptime%%.*}" -gt 120 ] && just_made "$path/supervise/pid"; then
			young="$young ${path##*/}"
		fi
	done
	if [ -n "$down" ] && [ "${uptime%%.*}" -lt 30 ]; then
		add services wait "starting:$down"
	elif [ -n "$down" ]; then
		add services fail "down:$down" "sv status NAME; sv up NAME; log: less /run/log/messages"
	elif [ -n "$young" ]; then
		add services warn "$count, just restarted:$young" "log: less /run/log/messages"
	else
		add services ok "$count running"
	fi
}

gather() {
	touch -d "@$(($(date +%s) - 10))" "$RUN/recent"
	: >"$RUN/now"
	gather_system
	gather_network
	reported ssh
	state=${STATE:-wait} text=$TEXT hint=$HINT
	reported keys
	[ "$STATE" = fail ] || [ "$STATE" = warn ] || STATE=$state
	add ssh "$STATE" "${text:-not started yet}; keys: ${TEXT:-none}" "${HINT:-$hint}"
	add_reported hostkey
	add_reported overlay
	gather_persist
	gather_clock
	add_reported swap
	add_reported watchdog
	add_reported mdns
	gather_engine
	for file in "$STATUS"/*; do
		case ${file##*/} in
		net.* | network | hostname | keys | ssh | hostkey | overlay | persist | clock | swap | watchdog | mdns | engine | '*') ;;
		# Other layers report under names of their own.
		*) add_reported "${file##*/}" ;;
		esac
	done
	gather_services
}

# Calls a function with unit, state, text and hint of every line.
each_line() {
	rest=$LINES
	while [ -n "$rest" ]; do
		line=${rest%%"$NL"*}
		rest=${rest#*"$NL"}
		unit=${line%%"$TAB"*}
		line=${line#*"$TAB"}
		state=${line%%"$TAB"*}
		line=${line#*"$TAB"}
		"$1" "$unit" "$state" "${line%%"$TAB"*}" "${line#*"$TAB"}"
	done
}

# Leaves these lines alone; `network` means each `network NAME`. One that is not there is told, and false.
only_lines() { # PROGRAM LINE...
	NAMES='' KEPT='' FAILED='' WANTED=$NL PROGRAM=$1
	shift
	for REPLY in "$@"; do
		case $NL$LINES in
		*"$NL$REPLY$TAB"* | *"$NL$REPLY "*) WANTED=$WANTED$REPLY$NL ;;
		*)
			each_line name_line
			echo "$PROGRAM: there is no line $REPLY; there are$NAMES" >&2
			return 1
			;;
		esac
	done
	each_line keep_line
	LINES=$KEPT
}

name_line() { NAMES="$NAMES${NAMES:+,} $1"; }

keep_line() { # UNIT STATE TEXT HINT
	case $WANTED in
	*"$NL$1$NL"* | *"$NL${1%% *}$NL"*) ;;
	*) return 0 ;;
	esac
	KEPT="$KEPT$1$TAB$2$TAB$3$TAB$4$NL"
	[ "$2" != fail ] || FAILED=yes
}

# A text without what a terminal would obey, whoever wrote it. Sets REPLY.
printable() {
	REPLY=$1
	case $1 in
	*[[:cntrl:]]*) REPLY=$(printf %s "$1" | tr -d '\000-\037\177') ;;
	esac
}

print_line() {
	case $2 in
	ok) mark=' ' ;;
	wait) mark='.' ;;
	warn) mark='!' ;;
	*) mark='X' ;;
	esac
	printable "$3"
	printf '%s%s %-13s %s%s\n' "$on" "$mark" "$1" "$REPLY" "$off"
	printable "$4"
	[ -z "$4" ] || [ "$2" = ok ] || printf '                → %s\n' "$REPLY"
}

print_text() {
	on='' off=''
	each_line print_line
	if [ -n "$FAILED" ]; then
		printf '\nX failed   ! look at it   . not yet\n'
	fi
}

# A JSON string. Sets REPLY.
json_string() {
	REPLY='' tail=$1
	while :; do
		case $tail in
		*[\\\"]*)
			head=${tail%%[\\\"]*}
			tail=${tail#"$head"}
			case $tail in
			\"*) REPLY=$REPLY$head\\\" ;;
			*) REPLY=$REPLY$head\\\\ ;;
			esac
			tail=${tail#?}
			;;
		*) break ;;
		esac
	done
	printable "$REPLY$tail"
	REPLY=\"$REPLY\"
}

json_line() {
	json_string "$1"
	printf '%s\n  %s: {' "$comma" "$REPLY"
	json_string "$2"
	printf '"state": %s, ' "$REPLY"
	json_string "$3"
	printf '"text": %s, ' "$REPLY"
	json_string "$4"
	printf '"hint": %s}' "$REPLY"
	comma=,
}

print_json() {
	comma=
	if [ -n "$FAILED" ]; then ok=false; else ok=true; fi
	printf '{"ok": %s, "units": {' "$ok"
	each_line json_line
	printf '\n}}\n'
}
