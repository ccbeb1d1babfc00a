#!/usr/bin/env bash
# Runs unit tests of the release build on an emulated CPU: Bochs' Ice Lake, which has AVX-512 with VNNI, and
# neither AVX512_BF16 nor AMX. So the code for such CPUs can be tried on a machine that has none. It is a few
# hundred times slower than a real one; what ran, and what failed, is printed when all have ended.
#
# usage: tests/emulated.sh [TEST[:FILTER]...]    programs of build/release/tests, each with its --gtest_filter;
#                                                default: our kernels for AVX-512, some 8 minutes
#
# Programs with LibTorch run too (precision_test: 5 minutes), but its own AVX-512 is not always right there: the
# tanh of its GELU was 0 in the first call after it was paged in, and right in all that followed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source deploy/environment.sh

[ $# -gt 0 ] || set -- 'integer_kernel_test:*Avx512*:Native*' 'float_kernel_test:*Avx512*' 'attention_kernel_test:*Avx512*'
deploy/setup.sh emulated
readonly TESTS=build/release/tests KERNEL=$PIXEMBED_CACHE/emulated_kernel
work=$(mktemp -d)
emulator=
trap '[ -z "$emulator" ] || kill "$emulator" 2>/dev/null; rm -rf "$work"' EXIT
readonly serial=$work/serial.txt disc=$work/disc initramfs=$work/initramfs

# The programs and all that they load, and what runs them: on a disc, since it may be LibTorch.
step "emulated: a disc with $*"
mkdir -p "$disc/boot/grub" "$disc/lib" "$disc/tests" "$initramfs/bin" "$initramfs/modules"
{
  echo 'export LD_LIBRARY_PATH=/disc/lib TMPDIR=/tmp failed=0'
  for test in "$@"; do
    program=${test%%:*} filter='*'
    [ "$program" = "$test" ] || filter=${test#*:}
    cp "$TESTS/$program" "$disc/tests/"
    ldd "$TESTS/$program" | awk '$3 ~ "^/" {print $3} $1 ~ "^/" {print $1}' | xargs cp -Lt "$disc/lib/"
    printf '/disc/lib/ld-linux-x86-64.so.2 /disc/tests/%s --gtest_color=no --gtest_filter=%q || failed=1\n' \
      "$program" "$filter"
  done
  echo 'echo "ended: $failed"'
} > "$disc/tests/run"

cp /bin/busybox "$initramfs/bin/"
ln -s busybox "$initramfs/bin/sh"
modules=(scsi/scsi_common scsi/scsi_mod cdrom/cdrom scsi/sr_mod ata/libata ata/ata_piix)
for module in "${modules[@]/#/drivers/}" fs/isofs/isofs; do
  cp "$KERNEL"/lib/modules/*/kernel/"$module.ko" "$initramfs/modules/"
  echo "insmod /modules/${module##*/}.ko"
done > "$initramfs/load"
cat > "$initramfs/init" <<'INIT'
#!/bin/sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /disc
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
. /load
exec > /dev/ttyS0 2>&1
grep -m 1 'model name' /proc/cpuinfo
until mount -t iso9660 -o ro /dev/sr0 /disc; do sleep 1; done
. /disc/tests/run
head -c 9000 /dev/zero | tr '\0' '\n'  # Bochs writes what it was sent by the block
poweroff -f
INIT
chmod +x "$initramfs/init"
(cd "$initramfs" && find . | cpio --quiet -o -H newc | gzip -1) > "$disc/boot/initrd.gz"
cp "$KERNEL"/boot/vmlinuz-* "$disc/boot/vmlinuz"
# Without what Bochs 2.7 says of itself and does not do.
cat > "$disc/boot/grub/grub.cfg" <<'GRUB'
set timeout=0
menuentry tests {
  linux /boot/vmlinuz console=ttyS0 earlyprintk=ttyS0 nokaslr lsm=yama mitigations=off nowatchdog tsc=reliable lpj=1000000 clearcpuid=pku,xsaves,xsavec,smap,umip,erms,fsrm
  initrd /boot/initrd.gz
}
GRUB
grub-mkrescue -o "$work/disc.iso" "$disc" 2> "$work/grub.log" || { cat "$work/grub.log" >&2; exit 1; }

cat > "$work/bochsrc" <<BOCHS
cpu: model=corei7_icelake_u, count=1, ips=100000000
memory: guest=2048, host=1024
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path=$work/disc.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$serial
clock: sync=none, time0=1000000000
display_library: term
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
log: $work/bochs.log
BOCHS
echo continue > "$work/commands"  # of its debugger, which Debian's begins with
step "emulated: $*"
TERM=xterm timeout --kill-after=5 3600 script -qfc "bochs -q -f $work/bochsrc -rc $work/commands" "$work/screen" \
  < /dev/null > /dev/null &
emulator=$!
# What it draws goes to a terminal of its own, and the emulator would wait for ever for somebody to look at it.
terminal=
while [ -z "$terminal" ] && kill -0 "$emulator" 2>/dev/null; do
  sleep 1
  terminal=$(sed -n 's/.*connected to screen "\(.*\)".*/\1/p' "$work/screen" 2>/dev/null) || true
done
[ -z "$terminal" ] || cat "$terminal" > /dev/null 2>&1 &
wait "$emulator" || true
emulator=
tr -d '\r' < "$serial" | sed -n '/model name/,$p' | grep -v '^$' || true
if ! grep -q '^ended: 0' "$serial"; then
  tail -n 5 "$work/bochs.log" >&2
  echo "emulated: a test failed, or the emulator did" >&2
  exit 1
fi
