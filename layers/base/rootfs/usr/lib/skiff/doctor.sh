# What skiff-doctor knows: causes of what skiff-status tells, and remedies. None deletes what somebody may want.
# shellcheck shell=sh

# Looks at every line. Status 1 when something is left that failed.
doctor() {
	SICK='' LEFT=''
	each_line doctor_line
	if [ -z "$SICK" ]; then
		echo "${ONLY:+$ONLY: }all is well"
	fi
	[ -z "$LEFT" ]
}

doctor_line() { # UNIT STATE TEXT HINT
	case $2 in
	ok | wait) return ;;
	esac
	SICK=yes WHY=$4 REMEDY='' WOULD=''
	doctor_knows "$1" "$3"
	printf '%s: %s\n' "$1" "$3"
	[ -z "$WHY" ] || printf '  %s\n' "$WHY"
	if [ -z "$REMEDY" ]; then
		[ "$2" != fail ] || LEFT=yes
	elif [ -z "$DO" ]; then
		printf '  skiff-doctor --fix %s  %s\n' "$1" "$WOULD"
		[ "$2" != fail ] || LEFT=yes
	elif $REMEDY; then
		printf '  done: %s\n' "$WOULD"
	else
		printf '  this did not help: %s\n' "$WOULD"
		LEFT=yes
	fi
}

# Sets WHY, and where there is a remedy REMEDY to its function and WOULD to what that does.
doctor_knows() { # UNIT TEXT
	case $1:$2 in
	engine:*'unable to configure'* | engine:*'failed to set log opts'*)
		WHY="A setting is not accepted: look at skiff/docker.json on persist and at /etc/docker/. Then: sv restart docker"
		;;
	engine:*'no space left'* | engine:*'ead-only file system'*)
		WHY="The disk keeps it from starting: skiff-status persist"
		;;
	engine:*' in a row'*)
		! engine_waits || return 0
		line_of "$ETC/skiff/engine"
		ENGINE=$REPLY
		WHY="The engine's data may be damaged, as by a power cut on a disk that lies about its cache. less /run/log/messages"
		REMEDY=set_engine_aside
		WOULD="sets $PERSIST/skiff/$ENGINE aside under its date and starts the engine with nothing; move things back by hand"
		;;
	engine:*'by hand'*)
		line_of "$ETC/skiff/engine"
		ENGINE=$REPLY REMEDY=start_engine WOULD="starts $ENGINE"
		;;
	persist:*full*)
		WHY="What fills it: du -xm $PERSIST | sort -n | tail"
		! command -v docker >/dev/null || {
			REMEDY=prune_engine
			WOULD="removes images without a name and caches of builds; containers, volumes and named images stay"
		}
		;;
	persist:*'read-only'*)
		WHY="The disk reported errors (dmesg), so nothing is written any more. Save what is on it: skiff backup.
  The next start checks it: reboot"
		;;
	persist:*'cannot be'* | persist:*'did not end in time'*)
		REMEDY=restart_persist WOULD="checks and mounts it again"
		;;
	services:down:*)
		DOWN=${2#down:} REMEDY=start_services WOULD="starts$DOWN"
		;;
	esac
}

# Whether something else than its data keeps the engine from starting. Sets WHY then.
engine_waits() {
	persist_room
	# What cannot be told is no reason.
	if [ "$SIZE" != 0 ] && persist_is_full; then
		WHY="The disk is full: skiff-status persist"
		return
	fi
	line_of "$STATUS/cluster" || REPLY=
	case $REPLY in
	fail*) WHY="The cluster's settings keep it from starting: skiff-status cluster" ;;
	*) return 1 ;;
	esac
}

# Dated and never deleted: only its owner knows what may go.
set_engine_aside() {
	sv -w 60 stop "$ENGINE" >/dev/null || return 1
	umount "$PERSIST/skiff/$ENGINE" 2>/dev/null
	aside=$PERSIST/skiff/$ENGINE.$(date -u +%Y%m%d-%H%M%S)
	mv "$PERSIST/skiff/$ENGINE" "$aside" && sync || return 1
	echo "  set aside: $aside"
	start_engine
}

start_engine() { sv -w 30 start "$ENGINE" >/dev/null; }

restart_persist() {
	sv -w 30 restart persist >/dev/null || return 1
	turns=0
	until [ -e "$RUN/persist" ]; do
		turns=$((turns + 1))
		[ $turns -lt 60 ] || return 1
		pause 1
	done
}

start_services() {
	for name in $DOWN; do
		sv -w 30 start "$name" >/dev/null || return 1
	done
}
