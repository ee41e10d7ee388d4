# The device's side of an update: what is taken, how it is written, verified, tried and confirmed. Sourced by skiff-slots.
# shellcheck shell=sh
# shellcheck disable=SC2015  # refuse ends the script: A && B || refuse is meant

NEW=$BOOT/new
SIGNERS=$ETC/skiff/signers

refuse() { # WHY [HINT]
	printf 'skiff-slots: %s\n' "$1${2:+ ($2)}" >&2
	exit 1
}

# A look takes a moment; who writes an update takes longer than anybody should wait.
slots_lock() {
	mkdir -p "$RUN"
	turns=0
	until mkdir "$RUN/slots.lock" 2>/dev/null; do
		if line_of "$RUN/slots.lock/pid" && [ ! -d "$PROC/$REPLY" ]; then
			umount "$BOOT" 2>/dev/null
			rm -rf "$RUN/slots.lock"
			continue
		fi
		turns=$((turns + 1))
		[ $turns -lt 50 ] || refuse "an update is being written" "wait for it"
		pause 0.2
	done
	echo $$ >"$RUN/slots.lock/pid"
}

# One at a time, and the partition is never left mounted, however this ends.
slots_open() { # ro|rw
	slot_running || refuse "this system was not started from a slot" "write a disk image to the device once: skiff flash"
	until disk_settled; do
		pause 0.5
	done
	slots_lock
	trap slots_close EXIT
	trap 'exit 1' INT TERM
	boot_find || refuse "no boot partition was found" "is its disk still there? dmesg"
	boot_mount "$1" || refuse "the boot partition /dev/$BOOT_DEV cannot be mounted" "fsck.fat -a /dev/$BOOT_DEV"
	state_read
	# Without a state U-Boot starts slot a.
	[ -n "$ST_SLOT" ] || ST_SLOT=a
}

slots_close() {
	boot_umount 2>/dev/null
	rm -rf "$RUN/slots.lock"
}

slot_version() { # SLOT
	manifest_value "$BOOT/$1/manifest" version || return 0
	REPLY=$(date -u -d "@$REPLY" +%Y-%m-%d 2>/dev/null)
}

slots_list() {
	slots_open ro
	for slot in a b; do
		slot_look "$slot"
		mark=' '
		[ "$slot" != "$RUNNING" ] || mark='*'
		[ -z "$TRIES" ] || SLOT_STATE="$SLOT_STATE, $TRIES tries left"
		slot_version "$slot"
		date=$REPLY
		manifest_value "$BOOT/$slot/manifest" layers
		printf '%s %s  %s%s%s\n' "$mark" "$slot" "$SLOT_STATE" "${date:+, packages of $date}" "${REPLY:+, layers $REPLY}"
	done
}

json_pair() { # NAME VALUE
	json_string "$2"
	printf '"%s": %s' "$1" "$REPLY"
}

json_slot() { # SLOT
	slot_look "$1"
	printf '\n  "%s": {' "$1"
	json_pair state "$SLOT_STATE"
	printf ', '
	json_pair tries "$TRIES"
	for word in version image board layers; do
		manifest_value "$BOOT/$1/manifest" "$word"
		printf ', '
		json_pair "$word" "$REPLY"
	done
	sum=$({ sha256sum <"$BOOT/$1/manifest"; } 2>/dev/null)
	printf ', '
	json_pair manifest "${sum%% *}"
	printf '}'
}

slots_json() {
	slots_open ro
	printf '{'
	json_pair running "$RUNNING"
	printf ', '
	json_pair loader "$LOADER"
	for word in arch board epoch; do
		line_of "$ETC/skiff/$word"
		printf ', '
		json_pair "$word" "$REPLY"
	done
	signed=false no_older=false
	[ ! -s "$SIGNERS" ] || signed=true
	[ ! -e "$ETC/skiff/no-older" ] || no_older=true
	printf ', "signed": %s, "no_older": %s, "slots": {' $signed $no_older
	json_slot a
	printf ','
	json_slot b
	printf '\n}}\n'
}

# Refuses what is not for this machine, was signed by nobody it knows, or is older though that was forbidden.
accept() { # MANIFEST SIGNATURE
	line_of "$1" && [ "$REPLY" = "skiff-slot 1" ] || refuse "this is no manifest of a slot"
	for word in arch board; do
		line_of "$ETC/skiff/$word"
		own=$REPLY
		manifest_value "$1" "$word"
		[ "$REPLY" = "$own" ] || refuse "the image is for another $word: ${REPLY:-none}, not $own"
	done
	manifest_value "$1" loader
	[ "$REPLY" = "$LOADER" ] || refuse "the image is for another bootloader: ${REPLY:-none}, not $LOADER"
	accept_files "$1"
	if [ -s "$SIGNERS" ]; then
		command -v ssh-keygen >/dev/null || refuse "this device takes signed images only, and has no ssh-keygen to verify them"
		[ -s "$2" ] || refuse "the image is not signed, and this device takes signed ones only" "skiff push --sign KEY"
		who=$(ssh-keygen -Y find-principals -s "$2" -f "$SIGNERS" 2>/dev/null) &&
			ssh-keygen -Y verify -f "$SIGNERS" -I "${who%%"$NL"*}" -n skiff-image -s "$2" <"$1" >/dev/null 2>&1 ||
			refuse "the image's signature is by none of this device's signers" "they are in /etc/skiff/signers"
	fi
	[ -e "$ETC/skiff/no-older" ] || return 0
	line_of "$ETC/skiff/epoch"
	own=$REPLY
	manifest_value "$1" version
	[ "$REPLY" -ge "$own" ] || refuse "the image is older than the one that runs" "this device takes no older ones"
}

# Names of files lead nowhere but below their slot.
accept_files() { # MANIFEST
	files=0
	while read -r word sum size name; do
		[ "$word" = file ] || continue
		files=$((files + 1))
		case $size in
		'' | *[!0-9]*) refuse "a size in the manifest is no number" ;;
		esac
		case $name in
		'' | /* | *..* | *[!A-Za-z0-9._,/+-]*) refuse "a name in the manifest leads elsewhere: $name" ;;
		esac
		[ ${#sum} = 64 ] || refuse "a checksum in the manifest is none"
	done <"$1"
	[ "$files" -gt 1 ] || refuse "the manifest names no files"
}

# Lines of a manifest for sha256sum.
sums_of() { # MANIFEST
	while read -r word sum _ name; do
		[ "$word" != file ] || printf '%s  %s\n' "$sum" "$name"
	done <"$1"
}

# Takes a manifest (and its signature behind it) from standard input, makes room for what it tells of, and
# prints what has to be sent: lines of a word and a value.
slots_prepare() {
	mkdir -p "$RUN/push"
	rm -f "$RUN/push"/*
	into=$RUN/push/manifest
	: >"$into"
	while IFS= read -r line; do
		[ "$line" != "-----BEGIN SSH SIGNATURE-----" ] || into=$RUN/push/manifest.sig
		printf '%s\n' "$line" >>"$into"
	done
	slots_open ro
	accept "$RUN/push/manifest" "$RUN/push/manifest.sig"
	slot_look "$RUNNING"
	[ "$SLOT_STATE" != trial ] || refuse "slot $RUNNING is on trial itself" "skiff-slots confirm, or skiff-slots rollback and reboot"
	! given_up || refuse "slot $OTHER is started next, and was good before this one" "reboot first"
	boot_umount
	boot_repair
	boot_mount rw || refuse "the boot partition cannot be written" "dmesg"
	slot_disarm "$OTHER"
	if [ -d "$NEW" ]; then
		rm -rf "${BOOT:?}/$OTHER"
	elif [ -d "$BOOT/$OTHER" ]; then
		mv "$BOOT/$OTHER" "$NEW"
	fi
	mkdir -p "$NEW"
	sync
	prepare_files
	cp "$RUN/push"/manifest* "$NEW/"
	printf 'slot %s\nbasis %s\n' "$OTHER" "$BOOT/$RUNNING/"
}

# What is there already is kept, or copied from the slot that runs. What an interrupted push of the same image
# left is put before the running slot's file: both are what rsync can build on.
prepare_files() {
	again=
	! cmp -s "$RUN/push/manifest" "$NEW/manifest" || again=yes
	rm -f "$NEW/manifest" "$NEW/manifest.sig"
	find "$NEW" -type f >"$RUN/push/there"
	while read -r path; do
		grep -q "^file .* ${path#"$NEW/"}\$" "$RUN/push/manifest" || [ -n "$again" ] || rm -f "$path"
	done <"$RUN/push/there"
	while read -r word sum size name; do
		[ "$word" = file ] || continue
		if is_file "$NEW/$name" "$sum" "$size"; then
			continue
		fi
		path=$NEW/$name
		mkdir -p "${path%/*}"
		if grep -q "^file $sum $size $name\$" "$BOOT/$RUNNING/manifest" 2>/dev/null; then
			rm -f "$NEW/$name"
			room "$size"
			# On the disk it may be damaged.
			! cp "$BOOT/$RUNNING/$name" "$NEW/$name" 2>/dev/null || ! is_file "$NEW/$name" "$sum" "$size" || continue
			rm -f "$NEW/$name"
		else
			keep_partial "$NEW/$name" "$size"
		fi
		room "$size"
		echo "need $name"
	done <"$RUN/push/manifest"
}

is_file() { # PATH SUM SIZE
	[ -f "$1" ] && [ "$(stat -c %s "$1")" = "$3" ] && echo "$2  $1" | sha256sum -c -s
}

keep_partial() { # PATH SIZE
	part=$1
	for path in "${1%/*}/.${1##*/}."*; do
		[ ! -e "$path" ] || part=$path
	done
	if [ -z "$again" ] || [ ! -s "$part" ] || ! enough $(($2 * 3)); then
		rm -f "$1" "${1%/*}/.${1##*/}."*
		return
	fi
	cat "$part" "$BOOT/$RUNNING/${1#"$NEW/"}" >"$NEW/basis" 2>/dev/null
	rm -f "$part"
	mv "$NEW/basis" "$1"
}

enough() { # BYTES
	# shellcheck disable=SC2046
	set -- "$1" $(df -kP "$BOOT" | tail -n 1)
	[ "${5:-0}" -gt $(($1 / 1024 + 1024)) ]
}

room() { # BYTES
	enough "$1" || refuse "the boot partition has no room for it" "a larger one needs a new disk image: skiff flash"
}

# rsync's other end. Mounted for as long as it takes; what came so far is kept when the connection breaks.
slots_receive() {
	trap '' HUP PIPE
	slots_open rw
	[ -d "$NEW" ] || refuse "nothing was prepared"
	rsync "$@"
}

# Reads everything back from the disk, past the cache, and has it started next.
slots_try() { # TRIES SECONDS
	slots_open ro
	[ -e "$NEW/manifest" ] || refuse "nothing was prepared"
	accept "$NEW/manifest" "$NEW/manifest.sig"
	sums_of "$NEW/manifest" >"$RUN/push/sums"
	if ! (cd "$NEW" && sha256sum -c "$RUN/push/sums" >"$RUN/push/verdict" 2>/dev/null); then
		bad=$(sed -n 's/: FAILED.*//p;s/: No such.*//p' "$RUN/push/verdict")
		refuse "not whole: ${bad:-a file is missing}" "push again"
	fi
	boot_umount
	boot_mount rw || refuse "the boot partition cannot be written" "dmesg"
	rm -rf "${BOOT:?}/$OTHER"
	mv "$NEW" "$BOOT/$OTHER"
	sync
	: >"$RUN/slot.ordered"
	slot_try "$OTHER" "$1" "$2"
	sync
	echo "slot $OTHER"
}

slots_rollback() { # TRIES SECONDS
	slots_open rw
	roll_back "$@"
}

# For the guard: a trial ends. Not one that was confirmed while it waited for its turn.
slots_expire() {
	slots_open rw
	slot_look "$RUNNING"
	[ "$SLOT_STATE" != trial ] || roll_back 3 300
}

roll_back() { # TRIES SECONDS
	[ -e "$BOOT/$OTHER/manifest" ] || refuse "slot $OTHER holds nothing to go back to"
	sums_of "$BOOT/$OTHER/manifest" >"$RUN/sums"
	(cd "$BOOT/$OTHER" && sha256sum -c -s "$RUN/sums" 2>/dev/null) || refuse "slot $OTHER is not whole" "push an image again"
	if ! given_up; then
		slot_look "$RUNNING"
		: >"$RUN/slot.ordered"
		entry_version "$OTHER"
		case $LOADER:$SLOT_STATE:$REPLY in
		# The other one was good before it. One write: after the first of two a cut could leave this one good.
		uboot:trial:*) state_write "$OTHER" "$ALONE" g ;;
		# On UEFI nothing would start without this one, if the other one has no entry or no tries.
		uefi:trial:[!0]*) slot_disarm "$RUNNING" ;;
		*) slot_try "$OTHER" "$1" "$2" ;;
		esac
	fi
	echo "slot $OTHER"
}

# Whether this system was on trial and is given up: it has not restarted yet, and its slot is not a good one.
given_up() {
	slot_look "$OTHER"
	[ -e "$RUN/slot.ordered" ] && [ "$SLOT_STATE" = good ]
}

slots_confirm() {
	slots_open rw
	# With U-Boot the last word counts. An entry that was deleted does not come back.
	[ "$LOADER" != uefi ] || entry_of "$RUNNING" || refuse "slot $RUNNING was given up" "slot $OTHER is started next"
	slot_confirm
	: >"$RUN/confirmed"
	report slot ok "$RUNNING, confirmed"
	echo "slot $RUNNING"
}

# Executables of the image and of persist, in the order of their names. The first that fails ends it.
# A service that ends again and again is up at nearly every single look. So one that was started anew has to have been
# up for so many seconds, within a time that is enough when that had a reason, such as keys that came from persist.
# Every second more makes every update longer.
STEADY=2
STEADY_WITHIN=60

# Sets UNSTEADY to the first service that was started anew and has not been up long enough.
services_unsteady() {
	for path in "$ETC"/service/*; do
		UNSTEADY=${path##*/}
		# Idle: it says itself that it has nothing to do.
		[ ! -e "$path/idle" ] && line_of "$path/supervise/stat" || continue
		case $REPLY in
		run*) ;;
		finish*) return 0 ;;
		# Between an end and the next start, or up again meanwhile; or stopped by somebody, which is no fault of its own.
		*) case $(sv status "$path") in run* | finish* | *"want up"*) return 0 ;; *) continue ;; esac ;;
		esac
		line_of "$path/supervise/pid" && age "$REPLY" || return 0
		[ "$AGE" -lt $STEADY ] || continue
		# At its first start it is as old as its runsv.
		young=$AGE
		line_of "$path/supervise/pid" && line_of "$PROC/$REPLY/stat" || return 0
		REPLY=${REPLY##*) ? }
		age "${REPLY%% *}" && [ "$AGE" -le $((young + 1)) ] || return 0
	done
	return 1
}

services_settle() {
	turns=0
	while services_unsteady; do
		turns=$((turns + 1))
		[ $turns -le $STEADY_WITHIN ] || refuse "the service $UNSTEADY does not stay up; its log: less /run/log/messages"
		pause 1
	done
}

slots_check() {
	services_settle
	for path in "$ETC"/skiff/checks/* "$PERSIST"/skiff/checks/*; do
		if [ ! -x "$path" ] || [ ! -f "$path" ]; then
			continue
		fi
		said=$(timeout 60 "$path" </dev/null 2>&1) || refuse "check ${path##*/} failed: $(printf %s "$said" | tail -n 1)"
	done
}

# For the guard: how this start came about. A word, the slot that runs, and seconds or the other slot.
slots_started() {
	slots_open ro
	slot_look "$RUNNING"
	case $SLOT_STATE in
	trial)
		line_of "$BOOT/$RUNNING/trial" || REPLY=300
		echo "trial $RUNNING $REPLY"
		;;
	good)
		slot_look "$OTHER"
		if [ "$SLOT_STATE" = bad ]; then echo "second $RUNNING $OTHER"; else echo "good $RUNNING"; fi
		;;
	*) echo "second $RUNNING $OTHER" ;;
	esac
}

# For the guard, when SSH answers: a slot that is not on trial gets its tries back, and is the one to start. Unless
# somebody was quicker, and has ordered another one.
slots_well() {
	slots_open ro
	slot_look "$RUNNING"
	[ "$SLOT_STATE" != trial ] && [ ! -e "$RUN/slot.ordered" ] || return 0
	if [ "$LOADER" = uefi ]; then
		[ "$SLOT_STATE" = good ] || uefi_settle
		return
	fi
	case $ST_SLOT:$ST_TRIES in
	"$RUNNING:$ALONE" | "$RUNNING:$GOOD_TRIES") ;;
	*)
		tries=$GOOD_TRIES
		[ "$ST_MARK" = g ] || tries=$ALONE
		state_write "$RUNNING" "$tries" g
		;;
	esac
}

# A slot that UEFI would start, and that sent us here, is not started again: it has no tries left.
uefi_settle() {
	entry_of "$OTHER" && [ "${REPLY##*/}" = "skiff-$OTHER.conf" ] || return 0
	boot_umount
	boot_mount rw && mv "$ENTRIES/skiff-$OTHER.conf" "$ENTRIES/skiff-$OTHER+0-1.conf"
}

# For the guard: the next start leaves out overlay and persist.
slots_safe() {
	slots_open ro
	state_write "$ST_SLOT" "$ST_TRIES" "$ST_MARK" s
}
