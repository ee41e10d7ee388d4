# The clock never goes before the build of the image, nor before the time that persist last saw. Sourced by boot, the
# clock service and what gathers the status.
# shellcheck shell=sh
# shellcheck disable=SC3013  # ash has -nt

# Seconds since 1970.
is_time() {
	case $1 in
	'' | *[!0-9]* | ????????????*) return 1 ;;
	esac
}

# Sets the clock when it is behind. Files made now tell what time it is: on most boots no program is started.
clock_forward() {
	: >"$RUN/now"
	line_of "$ETC/skiff/epoch" || return 0
	built=$REPLY
	# A damaged one says nothing.
	if [ "$SEEN/clock" -nt "$RUN/now" ] && line_of "$SEEN/clock" && is_time "$REPLY" && [ "$REPLY" -gt "$built" ]; then
		:
	elif [ "$RUN/now" -nt "$ETC/skiff/epoch" ]; then
		return
	else
		REPLY=$built
	fi
	is_time "$REPLY" || return 0
	# A little later than the newest file, so that all files are in the past.
	date -s "@$((REPLY + 2))" >/dev/null
}

# What the time program says of itself: sets REPLY, which has the word Normal when the clock is in step. chronyd is
# asked, and others leave a file.
clock_tracking() {
	if [ -e "$ROOT/run/chrony/chronyd.sock" ]; then
		REPLY=$(timeout 2 chronyc -h /run/chrony/chronyd.sock -c tracking 2>/dev/null)
	else
		line_of "$RUN/time" || :
	fi
}

# A disk that came after the boot's look at it may know better what time it is, as long as the network has not told.
clock_of_persist() {
	clock_tracking
	case $REPLY in
	*Normal*) return ;;
	esac
	[ ! -f "$PERSIST/skiff/clock" ] || ! cp -p "$PERSIST/skiff/clock" "$SEEN/clock" 2>/dev/null || clock_forward
}
