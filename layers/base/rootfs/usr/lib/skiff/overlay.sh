# Lays the overlay (partition rootfs, or skiff/overlay/ on persist) over / in RAM, and makes sure that SSH outlives it.
# Sourced by boot when there is an overlay.
# shellcheck shell=sh
# shellcheck disable=SC3045  # ash has read -t

# Never taken from an overlay: what is no file of the system, and what has to stand to bring SSH up.
NOT_LAID='/proc /sys /dev /run /mnt/persist /lost+found /tmp /var/run /var/lock /var/log /usr/lib/skiff /etc/inittab /etc/fstab'
# Links into /usr. A folder of that name in the overlay goes where the link points.
MERGED='bin sbin lib lib64'

# Measures the overlay before a byte is copied. Sets WHY; false when it is too much for this machine.
overlay_fits() {
	memory MemAvailable
	room=$((REPLY / 3)) most=$((REPLY / 16))
	# Each file costs RAM besides its content, and an endless pile of them must not be counted to its end.
	files=$(timeout -k 1 "$quarter" find "$OVERLAY" -xdev 2>/dev/null | head -n $((most + 1)) | wc -l)
	if [ "$files" -gt "$most" ]; then
		WHY="more than $most files, too many for the memory of this machine"
		return 1
	fi
	kilobytes=$(timeout -k 1 "$quarter" du -skx "$OVERLAY" 2>/dev/null) || {
		WHY="cannot be measured within $quarter seconds"
		return 1
	}
	kilobytes=${kilobytes%%[!0-9]*}
	if [ "${kilobytes:-0}" -gt "$room" ]; then
		WHY="$((kilobytes / 1024)) MiB, and only $((room / 1024)) MiB of memory can be given to it"
		return 1
	fi
}

# Copies one tree in what is left of the time; the first thing that goes wrong stays in code. A link to a folder is
# followed, not replaced.
lay() { # FROM TO OPTION…
	[ "$code" = 0 ] || return
	from=$1 to=$2
	shift 2
	seconds_up
	left=$((limit - (REPLY - began)))
	[ $left -gt 0 ] || left=1
	timeout -k 2 $left rsync -aHK --no-D --omit-dir-times "$@" "$from" "$to" >/dev/null 2>>"$RUN/overlay.log"
	code=$?
}

# The disk's side: measure, copy, report.
overlay_copy() {
	quarter=$((timeout / 4 + 1))
	if ! overlay_fits; then
		report overlay fail "skipped: $WHY" "$hint"
		return
	fi
	limit=$((timeout / 2 + 1)) code=0
	seconds_up
	began=$REPLY
	: >"$RUN/overlay.log"
	for name in $MERGED; do
		if [ -d "$OVERLAY/$name" ] && [ ! -L "$OVERLAY/$name" ]; then
			lay "$OVERLAY/$name/" "/usr/$name/" --exclude=/skiff
		fi
	done
	set --
	for path in $NOT_LAID; do
		set -- "$@" "--exclude=$path"
	done
	for name in $MERGED; do
		set -- "$@" "--exclude=/$name"
	done
	lay "$OVERLAY/" / "$@"
	case $code in
	0) report overlay ok "$files files from ${hint#look at }" ;;
	# 20: rsync was asked to end.
	20 | 124 | 137 | 143)
		report overlay fail "stopped after $limit seconds, only part of it is there" \
			"skiff.overlay_timeout=SECONDS on the kernel's command line; $hint"
		;;
	*)
		line_of "$RUN/overlay.log" || :
		report overlay fail "only part of it could be copied (rsync ended with $code): $REPLY" "$hint"
		;;
	esac
}

# within SECONDS FUNCTION: runs it in a process of its own and leaves it behind when it takes longer; false then.
within() {
	[ -p "$RUN/within" ] || mkfifo "$RUN/within"
	{
		"$2" </dev/null >/dev/null 2>&1
		echo >"$RUN/within"
	} &
	IFS= read -r -t "$1" _ <>"$RUN/within" && return 0
	kill -9 $! 2>/dev/null
	return 1
}

overlay_apply() {
	cmdline_number skiff.overlay_timeout 20
	timeout=$REPLY WHY=
	case $OVERLAY in
	*/rootfs) hint='look at the partition labelled rootfs' ;;
	*) hint='look at skiff/overlay/ on persist' ;;
	esac
	if [ "$timeout" = 0 ]; then
		report overlay warn "switched off on the kernel's command line (skiff.overlay_timeout=0)"
		return
	fi
	within $((timeout + 8)) overlay_copy ||
		report overlay fail "the disk did not answer within $((timeout + 8)) seconds" "dmesg; $hint"
	overlay_sane
}

# Restores one file from the image when it does not hold. Adds it to MENDED.
mend() {
	MENDED="$MENDED /$1"
	"$IMAGE/usr/bin/busybox" cp -a "$IMAGE/$1" "$ROOT/$1.image" && "$IMAGE/usr/bin/busybox" mv "$ROOT/$1.image" "$ROOT/$1"
}

# Runs a program of what was laid over, which may wait for what comes only later.
ends() { # PROGRAM WORD…
	"$IMAGE/usr/bin/busybox" timeout -k 1 5 "$@" >/dev/null 2>&1 </dev/null
}

# Whether root is in a passwd file with number 0, home /root and a shell that can be run.
passwd_sane() {
	while IFS=: read -r name _ uid gid _ home shell || [ -n "$name" ]; do
		[ "$name" = root ] || continue
		[ "$uid" = 0 ] && [ "$gid" = 0 ] && [ "$home" = /root ] && [ -n "$shell" ] || return 1
		[ -x "$shell" ] && ends "$shell" -c :
		return
	done 2>/dev/null <"$ETC/passwd"
	return 1
}

# A shell that /etc/shells does not list is refused by dropbear.
shells_sane() {
	[ -e "$ETC/shells" ] || return 0
	while read -r line || [ -n "$line" ]; do
		[ "$line" != "$shell" ] || return 0
	done <"$ETC/shells"
	return 1
}

# Keys that come this way are merged like all others. No file, and no link to what may not be there yet, stays where
# all keys are written.
keys_sane() {
	if [ -e "$KEYS" ] || [ -L "$KEYS" ]; then
		"$busybox" mv "$KEYS" "$ETC/skiff/authorized_keys/overlay.pub"
	fi
	folder=${KEYS%/*}
	if [ ! -d "$folder" ] || [ -L "$folder" ]; then
		MENDED="$MENDED /root/.ssh"
		"$busybox" rm -rf "$folder"
		"$busybox" mkdir "$folder"
	fi
	"$busybox" chown -R 0:0 "$folder" && "$busybox" chmod 700 "$folder"
}

# Everything on the way to a log-in: owners, accounts, the programs. What does not hold comes from the image again;
# if the programs do not run, the whole overlay is taken back.
overlay_sane() {
	MENDED=
	busybox=$IMAGE/usr/bin/busybox
	# dropbear refuses keys below folders that others may write to.
	"$busybox" chown 0:0 / /etc /root /usr /usr/bin /usr/sbin /usr/lib
	"$busybox" chmod go-w / /etc /root /usr /usr/bin /usr/sbin /usr/lib
	keys_sane
	if ! programs_sane; then
		MENDED=' everything'
		within 20 overlay_withdraw
	fi
	passwd_sane || mend etc/passwd
	passwd_sane || :
	shells_sane || mend_shells
	for path in etc/shadow etc/group etc/nsswitch.conf; do
		if [ ! -f "/$path" ] || [ ! -s "/$path" ]; then mend "$path"; fi
	done
	case $(cat /etc/group) in
	*root:*:0:*) ;;
	*) mend etc/group ;;
	esac
	case $(cat /etc/nsswitch.conf) in
	*passwd:*files*) ;;
	*) mend etc/nsswitch.conf ;;
	esac
	[ -n "$MENDED" ] || return 0
	report overlay fail "laid over, but restored from the image, SSH would not have worked:$MENDED" \
		"take that out of the overlay, or put it right"
}

mend_shells() {
	MENDED="$MENDED /etc/shells"
	echo "$shell" >>"$ETC/shells"
}

# The programs and libraries that a log-in needs run, and the service that starts them is there.
programs_sane() {
	ends /bin/sh -c : || return 1
	ends busybox true || return 1
	ends /bin/sh -n /etc/service/ssh/run && [ -x /etc/service/ssh/run ] && [ ! -e /etc/service/ssh/down ] || return 1
	# runsv answers no question; one with a folder that is not there ends at once.
	ends runsv "$RUN/nowhere"
	case $? in
	12[467] | 13[0-9] | 143) return 1 ;;
	esac
	for program in dropbear dropbearkey sshd; do
		[ -e "$IMAGE/usr/sbin/$program" ] || [ -e "$IMAGE/usr/bin/$program" ] || continue
		# 127: not there or not run by its loader; 126: not executable.
		ends "$program" -V
		case $? in
		12[67] | 13[0-9]) return 1 ;;
		esac
	done
}

# Puts back every file of the image that the overlay replaced, and removes what it added to folders of programs.
overlay_withdraw() {
	# shellcheck disable=SC2016
	"$IMAGE/usr/bin/busybox" sh -c '
		image=$1 overlay=$2
		PATH=
		cd "$overlay" || exit
		find . -xdev ! -type d | while IFS= read -r path; do
			case $path in
			./proc/* | ./sys/* | ./dev/* | ./run/* | ./mnt/persist/* | ./tmp/* | ./usr/lib/skiff/*) continue ;;
			esac
			rm -f "/$path"
			if [ -e "$image/$path" ] || [ -L "$image/$path" ]; then cp -a "$image/$path" "/$path"; fi
		done
	' withdraw "$IMAGE" "$OVERLAY" 2>/dev/null
}
