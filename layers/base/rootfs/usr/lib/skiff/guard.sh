# What the guard does: looks at SSH from outside, restarts what does not answer, ends trials. Sourced
# by guard.
# shellcheck shell=sh

# shellcheck source=layers/base/rootfs/usr/lib/skiff/keys.sh
. "$LIB/keys.sh"
# shellcheck source=layers/base/rootfs/usr/lib/skiff/strangers.sh
. "$LIB/strangers.sh"

# Seconds between two looks, and until the next one after a look that failed.
cmdline_number skiff.guard 60
LOOK=$REPLY AGAIN=10
# Seconds within which a server greets, even on a small and busy machine.
PATIENCE=10
# Fifths of a second that slots on a slow disk may take.
SLOTS_PATIENCE=300
# So many looks for one question to the server: each is two lines in its log.
ASK=5
[ "$LOOK" -gt $AGAIN ] || AGAIN=$LOOK

# What skiff-slots says and does, if it ends in time: the boot disk may hang, and nothing ends a process that waits for
# it. Nothing more is asked meanwhile; who restarts the device then goes on without it.
slots() {
	[ ! -e "$RUN/guard.asks" ] || return 1
	: >"$RUN/guard.asks"
	{
		skiff-slots "$@" >"$RUN/guard.answer"
		echo $? >"$RUN/guard.status"
		rm "$RUN/guard.asks"
	} >/dev/null 2>&1 &
	waits=0
	while [ -e "$RUN/guard.asks" ]; do
		waits=$((waits + 1))
		[ $waits -le $SLOTS_PATIENCE ] || return 1
		pause 0.2
	done
	cat "$RUN/guard.answer"
	line_of "$RUN/guard.status"
	return "$REPLY"
}

# What a connection to port 22 says. Sets REPLY: banner, closed (it ended without one), or silent.
ssh_says() {
	seconds_up
	began=$REPLY
	heard=$(timeout $PATIENCE nc 127.0.0.1 22 </dev/null 2>/dev/null | head -c 4)
	seconds_up
	if [ "$heard" = SSH- ]; then
		REPLY=banner
	elif [ $((REPLY - began)) -lt $((PATIENCE - 1)) ]; then
		REPLY=closed
	else
		REPLY=silent
	fi
}

# What the kernel knows of port 22: sets LISTENS when somebody does, WAITING when nobody takes a connection that has
# come, and COUNT to the open ones. No program is started, and the server's log is left alone.
ssh_sockets() {
	LISTENS='' WAITING='' COUNT=0
	for file in "$PROC/net/tcp" "$PROC/net/tcp6"; do
		while read -r _ local _ state queues _; do
			case $local:$state in
			*:0016:01 | *:0016:03) COUNT=$((COUNT + 1)) ;;
			*:0016:0A)
				LISTENS=yes
				[ "${queues#*:}" = 00000000 ] || WAITING=yes
				;;
			esac
		done 2>/dev/null <"$file"
	done
}

# Whether SSH is well. A server that hangs up on newcomers because strangers keep it busy is: restarting it would
# do what they want.
ssh_is_well() {
	ssh_says
	[ "$REPLY" != banner ] || return 0
	[ "$REPLY" = closed ] || return 1
	ssh_sockets
	[ "$COUNT" -ge 5 ]
}

# The same at less cost: it is asked for its banner now and then, and when something looks odd.
ssh_looks_well() { # NUMBER OF THE LOOK
	ssh_sockets
	if [ -z "$LISTENS" ] || [ -n "$WAITING" ] || [ $(($1 % ASK)) = 0 ]; then
		ssh_is_well
	fi
}

# Everything that SSH reads, as the image has it.
ssh_pristine() {
	for path in etc/service/ssh/run etc/ssh etc/passwd etc/shadow etc/group usr/sbin/dropbear usr/sbin/sshd root/.ssh; do
		[ -e "$IMAGE/$path" ] || continue
		! cmp -s "$IMAGE/$path" "$ROOT/$path" || continue
		rm -rf "$ROOT/${path:?}.image"
		cp -a "$IMAGE/$path" "$ROOT/$path.image" && rm -rf "$ROOT/${path:?}" && mv "$ROOT/$path.image" "$ROOT/$path"
	done
	write_keys
}

# Looks that failed in a row; further steps are for looks that go on failing.
guard_step() { # FAILURES
	case $1 in
	3)
		report guard warn "SSH did not answer: restarted" "less /run/log/messages"
		sv -w 5 force-restart "$ETC/service/ssh" >/dev/null 2>&1
		;;
	6)
		report guard warn "SSH did not answer: restarted with the image's own settings" "what changed in /etc? an overlay?"
		ssh_pristine
		sv -w 5 force-restart "$ETC/service/ssh" >/dev/null 2>&1
		;;
	9)
		# Nothing would note how the next start is to be, and it would be like this one, again and again.
		if ! slot_running; then
			report guard fail "SSH does not answer, and this system was not started from a slot that could start without overlay and persist" \
				"look at the console and at the overlay"
			return
		fi
		report guard fail "SSH does not answer: restarting without overlay and persist"
		slots safe
		# What is not written yet is left to shutdown, which has limits: reboot waits for a disk that hangs.
		reboot -n
		;;
	# A shutdown that hangs, too.
	15) ! slot_running || reboot -n -f ;;
	esac
}

# Whether the bootloader told that this start is a trial. U-Boot's script of the slot says so, and systemd-boot sets this
# variable for entries that it counts.
told_trial() {
	! cmdline skiff.trial || return 0
	[ -d "$SYS/firmware/efi" ] || return 1
	mkdir -p "$RUN/efi"
	mount -t efivarfs -o ro,nosuid,nodev,noexec efivarfs "$RUN/efi" || return 1
	[ -e "$RUN/efi/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" ]
	set -- $?
	umount "$RUN/efi"
	return "$1"
} 2>/dev/null

# A new kernel may not find the disk that tells of its trial, and nobody can confirm it then. The try was counted before it
# began, so that a restart leads to the other slot in the end. Asked for once.
guard_blind() {
	[ -z "$BLIND" ] || return 0
	BLIND=yes
	told_trial || return 0
	seconds_up
	TRIAL=$((REPLY + 300))
	report slot wait "$RUNNING, on trial: restarted within 300 s if its boot partition is not found" "is its disk still there? dmesg"
}

# How this start is to be taken: good, from a slot on trial, or the second choice. Sets TRIAL to the second of
# uptime until which a slot on trial has to be confirmed, and STARTED once it is known.
guard_start() {
	if ! slot_running; then
		report slot ok "none: this system was not started from a slot"
		STARTED=yes
		return
	fi
	disk_settled || return 0
	seconds_up
	# shellcheck disable=SC2046
	set -- $(slots started)
	if [ $# = 0 ]; then
		guard_blind
		return
	fi
	STARTED=yes TRIAL=''
	case $1 in
	trial)
		TRIAL=$((REPLY + $3))
		report slot wait "$2, on trial: confirmed within $3 s, or the other one is started again"
		;;
	# One that was confirmed before this look has its line already.
	good) [ -e "$RUN/confirmed" ] || report slot ok "$2" ;;
	*) report slot warn "$2: the other one, $3, did not start or was not confirmed" "skiff-slots; push an image again" ;;
	esac
}

trial_watch() {
	[ -n "$TRIAL" ] || return 0
	if [ -e "$RUN/confirmed" ]; then
		TRIAL=
		return
	fi
	seconds_up
	[ "$REPLY" -ge "$TRIAL" ] || return 0
	slots expire >/dev/null
	# Somebody was quicker.
	[ ! -e "$RUN/confirmed" ] || return 0
	report slot fail "not confirmed in time: the other slot is started again"
	reboot -n
	TRIAL=$((TRIAL + 60))
}

guard_loop() {
	report guard ok "SSH is looked at every $LOOK s"
	# Of a guard before this one: who was to take it away may have been taken by what took that one.
	rm -f "$RUN/guard.asks"
	failures=0 well='' looks=0 ENDED=0 STARTED='' BLIND='' TRIAL=''
	while :; do
		next=$LOOK
		[ -n "$STARTED" ] || guard_start
		# After a failure only an answer counts.
		[ $failures = 0 ] || looks=0
		if ssh_looks_well $looks; then
			looks=$((looks + 1))
			# The tries of a good slot are given back once.
			[ -n "$well" ] || [ -z "$STARTED" ] || ! slots well || well=yes
			failures=0
		else
			failures=$((failures + 1))
			guard_step $failures
			next=$AGAIN
		fi
		trial_watch
		[ -z "$TRIAL" ] && [ -n "$STARTED" ] || next=$AGAIN
		strangers_watch "$next"
	done
}
