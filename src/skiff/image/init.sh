#!/bin/busybox sh
# First program in RAM: brings the root file system together and hands over to the device's init.
# Needs nothing but this initramfs. See docs/explanation/boot.md.

say() { echo "skiff: $*" >/dev/console; }

# UEFI is asked to start the other slot next, once: systemd-boot(7), LoaderEntryOneShot. U-Boot counts by itself.
other_slot() {
	busybox mkdir -p /proc /efi
	busybox mount -t proc proc /proc
	read -r words </proc/cmdline
	case " $words " in
	*" skiff.slot=a "*) other=b ;;
	*" skiff.slot=b "*) other=a ;;
	*) return ;;
	esac
	busybox mount -t efivarfs efi /efi || return
	# Attributes (kept, for loader and system), then UTF-16 with its end.
	printf '\007\000\000\000s\000k\000i\000f\000f\000-\000%s\000*\000\000\000' $other \
		>/efi/LoaderEntryOneShot-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f && say "slot $other is started next"
} 2>/dev/null

# The image is damaged or the machine too small: nothing below can help, another start may.
die() {
	say "cannot start: $*"
	other_slot
	say "restarting in 10 seconds"
	/bin/busybox sleep 10
	/bin/busybox reboot -f
}

# What is named without `busybox` is done by a copy of this shell, which is quicker. mount cannot be: the shell would
# start it by /proc, which is not there yet. The builder knows all mounts and writes two tables: one program mounts a
# whole table.
export PATH=/bin
cd /parts || die "no parts"
# What SSH needs, while all is made ready for it. The other parts (sums in later.sha256) are checked by the services
# that use them.
sha256sum -c -s first.sha256 &
sums=$!
busybox mount -a -T /first.fstab
exec </dev/console >/dev/console 2>&1
while read -r module; do
	insmod "/modules/$module.ko" || say "module $module: not loaded"
done </modules/order
mkdir -p /ram/upper /ram/work /run/skiff/image /run/skiff/parts
wait "$sums" || die "the image is damaged (checksum)"
busybox mount -a -T /root.fstab || die "cannot mount the parts of the image"
# Not switch_root: it would delete /early, which lies below the new root. What is deleted here is all that
# the running system needs no more.
rm -rf /modules /init /first.fstab /root.fstab
cd /root && busybox mount --move . / && exec chroot . /sbin/init
