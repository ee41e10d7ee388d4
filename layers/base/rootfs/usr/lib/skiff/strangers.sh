# Connections to dropbear that never log in: when there are so many that newcomers find no place, the old ones end.
# dropbear would wait five minutes for each, and has thirty places; both are compiled in. Sourced by guard.
# shellcheck shell=sh

# So many that have not logged in are a crowd, and so many are all that dropbear takes.
CROWD=20 PLACES=30
# Seconds in which one who means it has logged in: on a slow machine and with a passphrase to type, and when nobody
# else finds a place.
TIME_TO_LOG_IN=20 TIME_WHEN_FULL=5
# Seconds between two glances at who is there.
GLANCE=3

# What a process has open for reading only and for writing only: sets READS and WRITES to words like MOUNT:INODE.
opened() { # PID
	READS=' ' WRITES=' '
	for file in "$PROC/$1"/fdinfo/*; do
		flags='' mount='' inode=''
		while read -r name value; do
			case $name in
			flags:) flags=$value ;;
			mnt_id:) mount=$value ;;
			ino:) inode=$value ;;
			esac
		done <"$file"
		case $flags in
		*0) READS="$READS$mount:$inode " ;;
		*1) WRITES="$WRITES$mount:$inode " ;;
		esac
	done
} 2>/dev/null

# The server and the processes of its connections: sets SERVER and CONNECTIONS. False when they are no crowd; two
# small files tell.
is_crowded() {
	line_of "$ETC/service/ssh/supervise/pid" || return 1
	SERVER=$REPLY
	line_of "$PROC/$SERVER/task/$SERVER/children" || return 1
	CONNECTIONS=$REPLY
	# shellcheck disable=SC2086
	set -- $CONNECTIONS
	[ $# -ge $CROWD ]
}

# The server reads from a pipe that the process of each connection has open for writing until its client has logged
# in; so nobody who has is ever ended. OpenSSH has no such pipes and settings instead. Adds to ENDED.
strangers_make_room() {
	is_crowded || return 0
	opened "$SERVER"
	awaited=$READS strangers=''
	for child in $CONNECTIONS; do
		opened "$child"
		for pipe in $WRITES; do
			case $awaited in
			*" $pipe "*)
				strangers="$strangers $child"
				break
				;;
			esac
		done
	done
	# shellcheck disable=SC2086
	set -- $strangers
	[ $# -ge $CROWD ] || return 0
	limit=$TIME_TO_LOG_IN
	[ $# -lt $PLACES ] || limit=$TIME_WHEN_FULL
	for child; do
		age "$child" || continue
		[ "$AGE" -lt $limit ] || ! kill "$child" || ENDED=$((ENDED + 1))
	done
} 2>/dev/null

# Wait SECONDS; a crowd that comes meanwhile is seen to.
strangers_watch() { # SECONDS
	seconds_up
	ends=$((REPLY + $1))
	while [ "$REPLY" -lt "$ends" ]; do
		pause $GLANCE
		strangers_make_room
		seconds_up
	done
	[ "$ENDED" = 0 ] || say "guard: $ENDED connections to SSH were ended: they were many and did not log in"
	ENDED=0
}
