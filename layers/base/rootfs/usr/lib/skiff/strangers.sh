# Connections to dropbear that never log in: when there are so many that newcomers find no place, the old ones end.
# dropbear would wait five minutes for each, and has thirty places; both are compiled in. Sourced by guard.
# shellcheck shell=sh

# So many connections are a crowd.
CROWD=20
# Seconds in which one who means it has logged in, on a slow machine and with a passphrase to type.
TIME_TO_LOG_IN=20

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

# The parent of a process, and how many seconds ago it started: sets PARENT and AGE.
origin() { # PID
	line_of "$PROC/$1/stat" || return 1
	# After the name, which is in brackets; ticks are hundredths of a second for every program.
	# shellcheck disable=SC2086
	set -- ${REPLY##*) }
	[ $# -ge 20 ] || return 1
	PARENT=$2
	shift 19
	started=$(($1 / 100))
	guard_now
	AGE=$((REPLY - started))
}

# COUNT connections are open. The server reads from a pipe that the process of each connection has open for writing
# until its client has logged in; so nobody who has is ever ended. OpenSSH has no such pipes and settings instead.
strangers_make_room() {
	[ "$COUNT" -ge $CROWD ] || return 0
	line_of "$ETC/service/ssh/supervise/pid" || return 0
	server=$REPLY ended=0
	opened "$server"
	awaited=$READS
	for path in "$PROC"/[0-9]*; do
		child=${path##*/}
		origin "$child" || continue
		[ "$PARENT" = "$server" ] || continue
		[ "$AGE" -ge $TIME_TO_LOG_IN ] || continue
		opened "$child"
		for pipe in $WRITES; do
			case $awaited in
			*" $pipe "*)
				kill "$child" && ended=$((ended + 1))
				break
				;;
			esac
		done
	done
	[ $ended = 0 ] || say "guard: $ended connections to SSH were ended: they were many and did not log in"
} 2>/dev/null
