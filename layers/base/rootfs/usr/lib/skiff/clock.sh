# The clock never goes before the build of the image, nor before the time that persist last saw. Sourced by boot and the clock service.
# shellcheck shell=sh
# shellcheck disable=SC3013  # ash has -nt

# Sets the clock when it is behind. Files made now tell what time it is: on most boots no program is started.
clock_forward() {
	: >"$RUN/now"
	if [ "$SEEN/clock" -nt "$RUN/now" ] && line_of "$SEEN/clock"; then
		:
	elif [ "$RUN/now" -nt "$ETC/skiff/epoch" ]; then
		return
	else
		line_of "$ETC/skiff/epoch" || return
	fi
	case $REPLY in
	'' | *[!0-9]* | ????????????*) return ;;
	esac
	# A little later than the newest file, so that all files are in the past.
	date -s "@$((REPLY + 2))" >/dev/null
}
