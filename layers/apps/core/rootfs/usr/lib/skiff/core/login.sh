# Who logs in to which container, whether it runs, and the way into it. Sourced by the log-in program.
# shellcheck shell=sh
# shellcheck disable=SC2034,SC3045  # WHY is for who sources this; ash has read -t

CORE=$RUN/core
# A folder that the user's containers see as /.skiff.
SHARED=$ROOT/tmp/skiff-core

# One line, and what to do; 75 is sysexits(3)'s "try again later".
refuse() { # TEXT [HINT]
	echo "skiff: $1${2:+ ($2)}" >&2
	exit 75
}

note() { echo "skiff: $1" >&2; }

# Sets CONTAINER, INSIDE (the user there), INHOME, and the words of the shell in SHELL_1 and SHELL_REST.
# False with WHY and HINT set when nobody knows this user.
read_user() { # NAME
	CONTAINER='' INSIDE='' INHOME='' WORDS='' HINT='root sees why: skiff-core status'
	case $1 in
	'' | *[!a-z0-9_-]*)
		WHY="this name is no user of core"
		return 1
		;;
	esac
	if [ ! -r "$CORE/users/$1" ]; then
		reported core
		WHY=${TEXT:-"core is not set up yet"}
		return 1
	fi
	while IFS= read -r line; do
		case $line in
		container=*) CONTAINER=${line#*=} ;;
		user=*) INSIDE=${line#*=} ;;
		home=*) INHOME=${line#*=} ;;
		# One word a line, as there are shells with arguments.
		shell=*) WORDS=$WORDS${line#*=}$NL ;;
		esac
	done <"$CORE/users/$1"
	case $CONTAINER in
	'' | *[!A-Za-z0-9_.-]* | .*)
		WHY="$1 has no container"
		return 1
		;;
	esac
}

# What is known of the container: STATE, TEXT, HINT, ID and CGROUP, which exists while it runs.
read_container() {
	STATE=wait TEXT="the container $CONTAINER is not set up yet" HINT='' ID='' CGROUP=''
	[ -r "$CORE/containers/$CONTAINER" ] || return 0
	{
		IFS= read -r line
		IFS= read -r ID
		IFS= read -r CGROUP
	} <"$CORE/containers/$CONTAINER"
	STATE=${line%%"$TAB"*}
	line=${line#*"$TAB"}
	TEXT=${line%%"$TAB"*}
	HINT=${line#*"$TAB"}
}

runs() { [ -n "$CGROUP" ] && [ -e "$SYS/fs/cgroup${CGROUP#/sys/fs/cgroup}" ]; }

# Comes back when the container runs; says meanwhile what is going on. A running one costs no program at all.
wait_for_container() {
	read_container
	runs && [ "$STATE:$INHOME" != wait: ] && return
	if [ "$STATE" = wait ]; then
		note "$TEXT; waiting for it (Ctrl-C ends this${HINT:+, root sees more: $HINT})"
		show_progress
		# What the container says of the user may be known only now.
		read_user "$USER" || refuse "$WHY" "$HINT"
	fi
	runs && return
	case $STATE:$ID in
	fail:* | *:) refuse "$TEXT" "$HINT" ;;
	esac
	wait_for_engine
	note "starting the container $CONTAINER"
	asked=''
	until answer=$(docker start "$CONTAINER" 2>&1 >/dev/null); do
		case $asked:$answer in
		:*[Nn]'o such container'*) asked="skiff-core status" ;;
		*) refuse "$CONTAINER does not start: $(echo "$answer" | tail -n 1)" "root sees more: ${asked:-docker logs $CONTAINER}" ;;
		esac
		# Somebody removed it: it is made anew.
		look_once_more
		! runs || return 0
	done
}

# What a log-in misses may be made by now, or can be: the service core looks, and this waits until it has.
look_once_more() {
	[ -p "$CORE/requests" ] || return 0
	was=$(stat -c '%i %z' "$RUN/status/core" 2>/dev/null)
	# A FIFO that nobody reads keeps who opens it.
	# shellcheck disable=SC2016  # the shell that timeout starts expands it
	timeout 10 sh -c 'echo missing >"$1"' sh "$CORE/requests" || return 0
	note "looking once more for what is missing; waiting for it (Ctrl-C ends this)"
	turns=0
	until [ "$(stat -c '%i %z' "$RUN/status/core" 2>/dev/null)" != "$was" ] || [ $turns = 240 ]; do
		turns=$((turns + 1))
		IFS= read -r -t 0.5 _ <>"$CORE/never" || :
	done
	read_user "$USER" || refuse "$WHY" "$HINT"
	read_container
}

# A container may run while the engine is away, but there is no way into it. An engine that is well costs no program,
# and one that is starting is not asked either: that would take a slow CPU's time from its start.
wait_for_engine() {
	reported engine
	told=
	while [ "$STATE" = wait ]; do
		[ -n "$told" ] || note "$TEXT; waiting for it (Ctrl-C ends this)"
		told=yes
		IFS= read -r -t 0.5 _ <>"$CORE/never" || :
		reported engine
	done
	case $STATE in
	'' | ok) return ;;
	esac
	docker version >/dev/null 2>&1 </dev/null ||
		refuse "the container engine does not answer${TEXT:+: $TEXT}" "root sees more: skiff-status engine"
}

# While the engine starts a container its control group is there already, but nobody is let in yet.
wait_until_running() {
	turns=0
	until [ "$(docker inspect --format '{{.State.Running}}' "$CONTAINER" 2>/dev/null </dev/null)" = true ] || [ $turns = 60 ]; do
		turns=$((turns + 1))
		IFS= read -r -t 0.5 _ <>"$CORE/never" || :
	done
}

# The log of pulling, building and making the container, for as long as that goes on.
show_progress() {
	log=$CORE/log/$CONTAINER shown=0 told=$TEXT
	until [ "$STATE" != wait ] || { runs && [ -n "$INHOME" ]; }; do
		if [ -r "$log" ]; then
			size=$(wc -c <"$log")
			[ "$size" -ge "$shown" ] || shown=0
			[ "$size" = "$shown" ] || tail -c "+$((shown + 1))" "$log" | head -c $((size - shown)) >&2
			shown=$size
		fi
		# Not of stdin: that is for the program in the container.
		IFS= read -r -t 0.5 _ <>"$CORE/never" || :
		read_container
		[ "$TEXT" = "$told" ] || [ "$STATE" != wait ] || note "$TEXT"
		told=$TEXT
	done
}

# A hard link to the agent's socket, for dropbear's own folder is not seen in there. Links of ended log-ins are
# those that nothing else names any more.
share_agent() {
	if [ ! -S "${SSH_AUTH_SOCK-}" ] || [ ! -d "$SHARED/$CONTAINER" ]; then
		unset SSH_AUTH_SOCK
		return
	fi
	find "$SHARED/$CONTAINER" -maxdepth 1 -name 'agent.*' -user "$USER" -links 1 -delete 2>/dev/null
	rm -f "$SHARED/$CONTAINER/agent.$$"
	if ln "$SSH_AUTH_SOCK" "$SHARED/$CONTAINER/agent.$$" 2>/dev/null; then
		export SSH_AUTH_SOCK="/.skiff/agent.$$"
	else
		unset SSH_AUTH_SOCK
	fi
}

# sftp and scp need the server of the container: the host's sees other files.
# shellcheck disable=SC2016  # this is for the shell in the container
SFTP='for server in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/openssh/sftp-server \
	/usr/libexec/sftp-server "$(command -v sftp-server)"; do
	[ ! -x "$server" ] || exec "$server"
done
echo "skiff: there is no sftp-server in this container, which scp and sftp need (install openssh-sftp-server)" >&2
exit 127'

# A home that is missing, or that its user may not enter, would end the engine's exec. As with any SSH server it is / then.
# Only a terminal is told: programs that talk over the connection want to hear nothing else.
# shellcheck disable=SC2016  # this is for the shell in the container
GO_HOME='cd "$1" 2>/dev/null || [ ! -t 2 ] || echo "skiff: $1 cannot be entered: this is /" >&2; shift; exec "$@"'

# Becomes the engine's exec. The client's words are one argument throughout: no shell of the host reads them.
enter() {
	before=$STATE
	wait_for_engine
	[ "$before" != wait ] || wait_until_running
	case $INHOME:$INSIDE in
	:*[!0-9:]*)
		look_once_more
		[ -n "$INHOME" ] || refuse "there is no user ${INSIDE%%:*} in the container $CONTAINER" "root sees more: skiff-core apply"
		;;
	esac
	share_agent
	set --
	rest=$WORDS
	while [ -n "$rest" ]; do
		set -- "$@" "${rest%%"$NL"*}"
		rest=${rest#*"$NL"}
	done
	[ $# != 0 ] || set -- /bin/sh
	SHELL=$1
	case $COMMAND in
	'')
		# A log-in shell, where it is one that knows the flag and the file names no words of its own.
		[ $# != 1 ] || case ${1##*/} in
		ash | bash | dash | fish | ksh | mksh | sh | zsh) set -- "$1" -l ;;
		esac
		;;
	*[[:space:]]*) set -- "$@" -c "$COMMAND" ;;
	*/sftp-server | sftp-server | internal-sftp) set -- /bin/sh -c "$SFTP" ;;
	*) set -- "$@" -c "$COMMAND" ;;
	esac
	start=$INHOME
	# By a shell that is there: itself, or the one beside it, which reads no settings. Any other program may be alone.
	case $INHOME:${1##*/} in
	:*) ;;
	*:ash | *:dash | *:sh) start=/ && set -- "$1" -c "$GO_HOME" sh "$INHOME" "$@" ;;
	*:bash | *:fish | *:ksh | *:mksh | *:zsh) start=/ && set -- /bin/sh -c "$GO_HOME" sh "$INHOME" "$@" ;;
	esac
	set -- "$CONTAINER" "$@"
	[ -z "$start" ] || set -- -w "$start" "$@"
	if [ -n "$INSIDE" ]; then
		set -- -u "$INSIDE" "$@"
		USER=${INSIDE%%:*} LOGNAME=${INSIDE%%:*}
	else
		unset USER LOGNAME
	fi
	# Named without a value, so that no value is seen in a list of processes.
	for name in SHELL USER LOGNAME TERM LANG SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_AUTH_SOCK; do
		eval "[ -z \"\${$name-}\" ]" || {
			# shellcheck disable=SC2163  # the variable of that name
			export "$name"
			set -- -e "$name" "$@"
		}
	done
	if [ -t 0 ]; then
		in_terminal "$@"
	else
		exec docker exec -i "$@"
	fi
}

# A terminal that hangs up must end the shell in there, as it would anywhere; the engine leaves it running.
in_terminal() {
	line_of "$PROC/sys/kernel/random/uuid" || :
	export SKIFF_SESSION="$REPLY"
	target=$CONTAINER
	trap hung_up HUP TERM
	# Nothing types this to detach: the default, Ctrl-P, is the shell's key for the last command.
	# A program in the background reads from nowhere, unless its input is named; 0 is nowhere already by then.
	exec 3<&0
	docker exec -it --detach-keys 'ctrl-],ctrl-_,ctrl-],ctrl-_' -e SKIFF_SESSION "$@" <&3 &
	session=$!
	# Docker passes on no change of size that comes before it listens for such: once more, when it surely does.
	(
		sleep 2
		kill -WINCH "$session"
	) </dev/null >/dev/null 2>&1 &
	wait "$session"
	exit $?
}

# Sends SIGHUP to the shell of this session: the leader on a terminal that has the session's mark, which its parent
# has not. What was put into a session of its own (tmux, setsid) goes on, as under any SSH server.
# shellcheck disable=SC2016  # this is for the shell in the container
HANG_UP='marked() { tr "\0" "\n" <"/proc/$1/environ" 2>/dev/null | grep -qx "SKIFF_SESSION=$mark"; }
mark=$1
for path in /proc/[0-9]*; do
	pid=${path##*/}
	marked "$pid" || continue
	read -r stat <"$path/stat" || continue
	set -- ${stat##*) }
	[ "$4" = "$pid" ] && [ "$5" != 0 ] && ! marked "$2" && kill -HUP "$pid"
done'

hung_up() {
	trap '' HUP TERM
	# As that user, for root in a container may not look into the variables of others' programs.
	docker exec ${INSIDE:+-u "$INSIDE"} "$target" /bin/sh -c "$HANG_UP" sh "$SKIFF_SESSION" </dev/null >/dev/null 2>&1
	exit 129
}

# Whether the client pushes an environment: git's command for the repository `env`, whatever way it was written.
pushed() { # COMMAND
	case $1 in
	'git-receive-pack '*) ;;
	*) return 1 ;;
	esac
	path=${1#git-receive-pack }
	path=${path#\'}
	path=${path%\'}
	path=${path#\~}
	path=${path#/}
	path=${path%/}
	[ "${path%.git}" = env ]
}
