# Makefile - builds, tests and installs qcow2-progs.  One file, no configure step.
#
# SPDX-License-Identifier: MIT
#
#   make            programs into build/release/bin
#   make deps       install what building and testing need (as root)
#   make check      every test; one closing line
#   make demo       the main job on a real image
#   make bench      speed and memory beside qemu-img
#   make coverage   what the tests reach of lib/
#   VARIANT=release|debug|clang|asan|tsan|cov   CC=gcc|clang   WERROR=1

VARIANT ?= release
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
UNITDIR ?= $(PREFIX)/lib/systemd/system
PKG_CONFIG ?= pkg-config
AR ?= ar
B := build/$(VARIANT)

VERSION := $(shell sed -n 's/.*Q2_VERSION "\(.*\)".*/\1/p' lib/q2.h)
SONAME := libq2.so.0

# --- variants for other machines, and one without shared libraries -----------------
CROSS_s390x := s390x-linux-gnu
CROSS_i386 := i686-linux-gnu
CROSS_armhf := arm-linux-gnueabihf
LIBDIR_i386 := i386-linux-gnu
CROSS := $(CROSS_$(VARIANT))
STATIC := $(if $(CROSS)$(filter static musl,$(VARIANT)),-static)
ifeq ($(VARIANT),musl)
CC := musl-gcc
PKG_CONFIG := env PKG_CONFIG_LIBDIR=build/musl-root/lib/pkgconfig pkg-config
endif
ifdef CROSS
SYSROOT := build/sysroot/$(VARIANT)
MULTIARCH := $(or $(LIBDIR_$(VARIANT)),$(CROSS))
CROSS_CFLAGS := -isystem $(SYSROOT)/usr/include -isystem $(SYSROOT)/usr/include/$(MULTIARCH)
CC := $(CROSS)-gcc
AR := $(CROSS)-ar
PKG_CONFIG := env PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
	PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(MULTIARCH)/pkgconfig pkg-config
endif

# --- packages: the one place that knows them ---------------------------------------
BUILD_DEPS_DEBIAN := gcc libc6-dev pkg-config zlib1g-dev libdeflate-dev \
	libzstd-dev libxxhash-dev libssl-dev libsmartcols-dev libseccomp-dev \
	libjson-c-dev
STATIC_DEPS_DEBIAN := nettle-dev
TEST_DEPS_DEBIAN := $(BUILD_DEPS_DEBIAN) clang check qemu-utils e2fsprogs jq \
	mandoc shellcheck codespell git xz-utils util-linux binutils xxhash \
	xfsprogs mount libnbd-dev libnbd-bin nbdkit curl prometheus \
	prometheus-node-exporter \
	dosfstools mtools fdisk xxd zip python3 libqcow-utils libqcow-dev chromium \
	fonts-dejavu-core file systemd clang-tidy cppcheck valgrind gcovr gddrescue \
	nagios4-core icinga2-bin $(STATIC_DEPS_DEBIAN)
# For check-portable.
FOREIGN_DEPS_DEBIAN := qemu-user-static gcc-s390x-linux-gnu \
	libc6-dev-s390x-cross gcc-i686-linux-gnu libc6-dev-i386-cross \
	gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
DEPS_FEDORA := gcc glibc-devel nettle-devel pkgconf zlib-devel libdeflate-devel \
	libzstd-devel xxhash-devel openssl-devel libsmartcols-devel json-c-devel libnbd-devel \
	libseccomp-devel clang check-devel qemu-img e2fsprogs jq mandoc ShellCheck codespell git xz \
	util-linux binutils xxhash xfsprogs nbdkit curl golang-github-prometheus \
	node-exporter dosfstools mtools xxd zip chromium-headless python3 \
	clang-tools-extra cppcheck valgrind ddrescue
DEPS_ALPINE := gcc nettle-dev nettle-static musl-dev linux-headers pkgconf zlib-dev libdeflate-dev \
	zstd-dev xxhash-dev openssl-dev util-linux-dev json-c-dev libnbd-dev clang check-dev \
	libseccomp-dev qemu-img e2fsprogs jq mandoc shellcheck codespell git xz util-linux binutils \
	bash xxhash xfsprogs nbdkit curl prometheus prometheus-node-exporter \
	dosfstools mtools sfdisk xxd zip chromium python3 clang-extra-tools cppcheck valgrind \
	ddrescue
DEPS_ARCH := gcc nettle pkgconf zlib libdeflate zstd xxhash openssl json-c libnbd clang check \
	libseccomp qemu-img e2fsprogs jq mandoc shellcheck codespell git xz util-linux binutils \
	xfsprogs nbdkit curl prometheus prometheus-node-exporter \
	dosfstools mtools xxd zip chromium python cppcheck valgrind ddrescue

# --- compiling: V=1 shows the commands ------------------------------------------------------------------
# Programs without shared libraries have nettle, of which the linker takes only what
# is used, in the place of OpenSSL's libcrypto.
CRYPTO := $(if $(filter static musl,$(VARIANT)),nettle,openssl)
CRYPTO_LIB := $(if $(filter nettle,$(CRYPTO)),nettle,libcrypto)
LIBS := zlib libdeflate libzstd libxxhash $(CRYPTO_LIB) json-c
MAP_LIBS := smartcols
MISSING := $(shell for p in $(firstword $(CC)) $(firstword $(PKG_CONFIG)); do \
	command -v $$p >/dev/null || echo $$p; done; \
	for l in $(LIBS) $(if $(STATIC),,$(MAP_LIBS)); do $(PKG_CONFIG) --exists $$l 2>/dev/null || echo $$l; done)

# Optional: images on NBD servers.
NBD := $(if $(STATIC),,$(shell $(PKG_CONFIG) --exists libnbd 2>/dev/null && echo libnbd))
# Optional: a filter for system calls.
SECCOMP := $(shell $(PKG_CONFIG) --exists libseccomp 2>/dev/null && echo libseccomp)

Q := $(if $(V),,@)
run = $(if $(V),,@echo '  $(1)  $@')

WARN := -Wall -Wextra -Wconversion -Wsign-conversion -Wcast-qual -Wshadow \
	-Wvla -Wstrict-prototypes -Wmissing-prototypes
# Requests of ioctl() do not fit into the int that this C library takes.
ifeq ($(VARIANT),musl)
WARN += -Wno-sign-conversion -Wno-overflow
endif
STD := -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
ifneq ($(filter i386 armhf,$(VARIANT)),)
STD += -D_TIME_BITS=64
endif
ifeq ($(VARIANT),release)
VFLAGS := -O3 -g -DNDEBUG
else ifeq ($(VARIANT),debug)
VFLAGS := -O1 -g
else ifeq ($(VARIANT),asan)
VFLAGS := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
else ifeq ($(VARIANT),tsan)
VFLAGS := -O1 -g -fsanitize=thread
else ifeq ($(VARIANT),clang)
VFLAGS := -O2 -g
else ifneq ($(STATIC),)
VFLAGS := -O2 -g
else ifeq ($(VARIANT),afl)
VFLAGS := -O3 -g -ffunction-sections
LDFLAGS += -fuse-ld=lld -Wl,--gc-sections
else ifeq ($(VARIANT),lf)
VFLAGS := -O1 -g -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=undefined
else ifeq ($(VARIANT),llvmcov)
VFLAGS := -O1 -g -DNDEBUG -fprofile-instr-generate -fcoverage-mapping
else ifeq ($(VARIANT),edges)
VFLAGS := -O0 -g -DNDEBUG -fsanitize-coverage-allowlist=fuzz/edges.list \
	-fsanitize-coverage=inline-8bit-counters,no-prune
else ifeq ($(VARIANT),cov)
VFLAGS := -O0 -g --coverage -fprofile-update=atomic -DQ2_COVERAGE -DNDEBUG
else
$(error unknown VARIANT '$(VARIANT)': release, debug, clang, static, musl, asan, \
	tsan, cov, llvmcov, edges, afl, lf, s390x, i386 or armhf)
endif
ifdef WERROR
WARN += -Werror
endif

LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIBS) 2>/dev/null)
LIB_LIBS := $(shell $(PKG_CONFIG) $(STATIC:%=-%) --libs zlib libdeflate libzstd \
	$(CRYPTO_LIB) json-c 2>/dev/null) -pthread
# It is loaded when a server is named: see lib/io/nbd_load.h.
LIB_LIBS += $(if $(NBD),-ldl)
LIB_CFLAGS += $(if $(NBD),-DHAVE_LIBNBD)
MAP_CFLAGS := $(if $(STATIC),,-DHAVE_SMARTCOLS $(shell $(PKG_CONFIG) --cflags $(MAP_LIBS) 2>/dev/null))
CLI_CFLAGS := $(if $(SECCOMP),-DHAVE_LIBSECCOMP $(shell $(PKG_CONFIG) --cflags $(SECCOMP)))
CLI_LINK := $(if $(SECCOMP),$(shell $(PKG_CONFIG) $(STATIC:%=-%) --libs $(SECCOMP)))
MAP_LINK := $(if $(STATIC),,$(shell $(PKG_CONFIG) --libs $(MAP_LIBS) 2>/dev/null))
ALL_CFLAGS = $(STD) $(VFLAGS) $(WARN) -fPIC -fvisibility=hidden -Ilib \
	$(LIB_CFLAGS) $(CROSS_CFLAGS) $(CPPFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(VFLAGS) $(STATIC) $(LDFLAGS)

LIB_SRC := $(filter-out $(if $(filter nettle,$(CRYPTO)),%_openssl.c,%_nettle.c),$(sort $(wildcard lib/*/*.c)))
CLI_SRC := $(filter lib/cli/%,$(LIB_SRC))
CORE_SRC := $(filter-out lib/cli/%,$(LIB_SRC))
FSCK_SRC := $(sort $(wildcard fsck/*.c))
DUMP_SRC := $(sort $(wildcard dump/*.c))
MAP_SRC := $(sort $(wildcard map/*.c))
Q2MK_SRC := $(sort $(wildcard tests/support/q2mk*.c))
Q2WRITE_SRC := tests/support/failalloc.c $(sort $(wildcard tests/support/q2write*.c))
Q2INPLACE_SRC := tests/support/failalloc.c $(sort $(wildcard tests/support/q2inplace*.c))
CALLS_SRC := $(sort $(wildcard tests/calls/*.c))
MKBIG_SRC := $(sort $(wildcard tests/bench/mkbig*.c))
MUT_SRC := $(addprefix fuzz/mutator/,view.c base.c fixup.c fields.c ops.c q2mut.c trim.c)
FUZZ_SRC := $(filter-out fuzz/drv_%,$(sort $(wildcard fuzz/*.c)))
GUARD_SRC := $(addprefix fuzz/guard/,look.c tree.c watch.c)
FUZZ_IO := $(addprefix tests/support/,testio.c q2write_run.c q2write_crash.c)
UNIT_SRC := $(sort $(wildcard tests/unit/test_*.c))
obj = $(patsubst %.c,$(B)/%.o,$(1))

PROGRAMS := $(B)/bin/qcow2-fsck
TESTIO := $(call obj,tests/support/testio.c tests/support/testplan.c)
PROGRAMS += $(B)/bin/qcow2-dump
PROGRAMS += $(B)/bin/qcow2-map
UNITS := $(patsubst tests/unit/%.c,$(B)/tests/%,$(UNIT_SRC))
TOOLS := $(B)/tests/bitflip $(B)/tests/crash $(B)/tests/fixpoint $(B)/tests/q2mk $(B)/tests/q2write \
	$(B)/tests/q2inplace $(B)/tests/q2problems $(B)/tests/faultio.so $(B)/tests/faultwrite.so
FUZZ := $(B)/fuzz/q2fuzz $(B)/fuzz/q2gen $(B)/fuzz/q2mut.so $(B)/fuzz/q2guard \
	$(B)/fuzz/q2canary.so $(B)/fuzz/q2keeps
TOOLS += $(B)/tests/q2keep
TOOLS += $(B)/tests/q2calls
TOOLS += $(B)/tests/faultalloc.so $(B)/tests/intruder.so
# Another reader, to compare with where there is one.
TOOLS += $(shell $(PKG_CONFIG) --exists libqcow 2>/dev/null && echo $(B)/tests/qcowread)
BENCH := $(B)/tests/mkbig $(B)/tests/floor $(B)/tests/timeit

.PHONY: FORCE all deps lib man pool tools bench-programs test-programs check check-all check-sanitized demo bench lint clean \
	install uninstall installcheck missing
.DELETE_ON_ERROR:
.SECONDARY:

all: missing $(PROGRAMS) lib man pool
	@[ -n "$(SECCOMP)" ] || echo "make: without libseccomp: the programs can only" \
		"confine which files they open, not which system calls they make"

missing:
	@if [ -n "$(strip $(MISSING))" ]; then \
		echo "make: not found: $(strip $(MISSING))" >&2; \
		echo "make: 'make deps' (as root) installs all that building and testing need;" >&2; \
		echo "make: to build only, on Debian: apt-get install $(strip $(BUILD_DEPS_DEBIAN))" >&2; \
		exit 1; fi

lib: $(B)/libq2.a $(B)/$(SONAME) $(B)/q2.pc
man: $(B)/man/q2problems.7 $(B)/man/q2.3
# What checks a pool from time to time, with the place where it will lie.
pool: $(addprefix $(B)/pool/,qcow2-pool.service nagios.cfg icinga2.conf)
tools: $(TOOLS)
	@:
bench-programs: $(BENCH)
	@:
test-programs: all $(TOOLS) $(UNITS) $(BENCH) $(FUZZ)

# What runs on other machines; and the programs alone, without shared libraries.
.PHONY: portable-programs static-programs static check-static check-portable
portable-programs: missing $(PROGRAMS) $(UNITS) $(B)/tests/fixpoint $(B)/tests/q2mk $(B)/fuzz/q2fuzz
static-programs: missing $(PROGRAMS) $(STATIC_TESTS)
	@for p in $(filter $(B)/bin/%,$^); do $(CROSS:%=%-)strip -o $$p.new $$p && mv $$p.new $$p || exit 1; done

# Rewritten only when the command line changes, so that flags rebuild.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(CLI_CFLAGS) $(ALL_LDFLAGS)' | cmp -s - $@ || \
		echo '$(CC) $(ALL_CFLAGS) $(CLI_CFLAGS) $(ALL_LDFLAGS)' > $@
FORCE:

$(B)/%.o: %.c $(B)/flags | missing
	@mkdir -p $(@D)
	$(call run,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(B)/libq2.a: $(call obj,$(CORE_SRC))
	@rm -f $@
	$(call run,AR)
	$(Q)$(AR) rcs $@ $^

$(B)/$(SONAME): $(call obj,$(CORE_SRC)) lib/q2.map
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,-z,defs \
		-Wl,--version-script=lib/q2.map -o $@ \
		$(call obj,$(CORE_SRC)) $(LIB_LIBS)
	@ln -sf $(SONAME) $(B)/libq2.so

$(B)/q2.pc: lib/q2.pc.in lib/q2.h $(B)/dirs
	@sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@NBD@|$(if $(NBD), -ldl)|' $< > $@
$(B)/pool/%: fsck/pool/%.in $(B)/dirs
	@mkdir -p $(@D)
	@sed 's|@PREFIX@|$(PREFIX)|g' $< > $@
$(B)/dirs: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX) $(LIBDIR)' | cmp -s - $@ || echo '$(PREFIX) $(LIBDIR)' > $@

$(B)/lib/cli/%.o: private CFLAGS += $(CLI_CFLAGS)
$(B)/bin/qcow2-fsck: $(call obj,$(FSCK_SRC) $(CLI_SRC)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS) $(CLI_LINK)

$(B)/bin/qcow2-dump: $(call obj,$(DUMP_SRC) $(CLI_SRC)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS) $(CLI_LINK)

$(B)/map/%.o: private CFLAGS += $(MAP_CFLAGS)
$(B)/bin/qcow2-map: $(call obj,$(MAP_SRC) $(CLI_SRC)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS) $(CLI_LINK) $(MAP_LINK)

$(B)/tests/q2mk: $(call obj,$(Q2MK_SRC))
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)
$(B)/tests/bitflip $(B)/tests/crash $(B)/tests/fixpoint: $(B)/tests/%: $(B)/tests/repair/%.o \
		$(B)/tests/support/testview.o $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)
$(B)/tests/q2keep: $(call obj,tests/support/q2keep.c) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)
$(B)/tests/q2write: $(call obj,$(Q2WRITE_SRC) tests/support/testio.c) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=calloc,--wrap=q2_regrow -o $@ $^ $(LIB_LIBS)
$(B)/tests/q2inplace: $(call obj,$(Q2INPLACE_SRC)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -Wl,--wrap=calloc,--wrap=q2_regrow -o $@ $^ $(LIB_LIBS)
# What the library calls is called through the test, which lets it fail.
CALLS := malloc calloc realloc free strdup strndup posix_memalign realpath \
	libdeflate_alloc_compressor libdeflate_alloc_decompressor \
	ZSTD_createCCtx ZSTD_createDCtx inflateInit2_ json_tokener_new_ex \
	EVP_CIPHER_CTX_new EVP_CipherInit_ex EVP_CipherUpdate EVP_Digest \
	PKCS5_PBKDF2_HMAC pthread_create open64 fcntl64 ioctl syscall mkostemp64 \
	opendir fdopen fopen64 scandir64 access stat64 lstat64 fstat64 statvfs64 \
	gethostname ftruncate64 fallocate64 posix_fallocate64 lseek64 futimens \
	rename link flock fsync fdatasync read write pread64 pwrite64 \
	clock_gettime fflush fwrite fseeko64 q2_cli_complain _exit prctl \
	seccomp_init seccomp_rule_add seccomp_rule_add_array seccomp_load \
	dlopen dlsym dlclose setrlimit64
$(B)/tests/calls/%.o: private CFLAGS += $(CLI_CFLAGS)
$(B)/tests/q2calls: $(call obj,$(CALLS_SRC) $(CLI_SRC)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) $(CALLS:%=-Wl,--wrap=%) -o $@ $^ $(LIB_LIBS) $(CLI_LINK)
$(B)/tests/q2problems: $(call obj,tests/lint/problems-man.c)
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
$(B)/tests/fault%.so: tests/support/fault%.c
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 $(WARN) -fPIC -shared -o $@ $< -ldl
$(B)/tests/intruder.so: tests/support/intruder.c
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 $(WARN) -fPIC -shared -o $@ $< -ldl
$(B)/tests/mkbig: $(call obj,$(MKBIG_SRC))
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)
$(B)/tests/floor: $(call obj,tests/bench/floor.c tests/bench/floor_bytes.c)
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
$(B)/tests/timeit: $(call obj,tests/bench/timeit.c)
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
# The allocations of a fuzz target are counted, and made to fail, by the linker; it
# has one thread.
WRAP_ALLOC := $(foreach f,malloc calloc realloc strdup posix_memalign free pthread_create,-Wl,--wrap=$(f))
$(B)/fuzz/q2fuzz: $(call obj,fuzz/drv_main.c fuzz/drv_faults.c fuzz/drv_novelty.c fuzz/drv_trim.c $(FUZZ_SRC) $(MUT_SRC) $(FUZZ_IO)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) $(WRAP_ALLOC) -o $@ $^ $(LIB_LIBS)
# AFL++: a program for each target, with what that calls and no more, so that its map
# of edges is small.
$(B)/fuzz/targets.a: $(call obj,$(filter-out fuzz/targets.c,$(FUZZ_SRC)) $(FUZZ_IO))
	@rm -f $@
	$(call run,AR)
	$(Q)$(AR) rcs $@ $^
$(B)/fuzz/q2fuzz-afl-%: fuzz/drv_afl.c $(B)/fuzz/targets.a $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WRAP_ALLOC) -DTARGET=q2f_$(subst -,_,$*) \
		-o $@ $^ $(LIB_LIBS)
# One program for all targets, by many names.
$(B)/fuzz/q2fuzz-lf: $(call obj,fuzz/drv_libfuzzer.c $(FUZZ_SRC) $(MUT_SRC) $(FUZZ_IO)) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(WRAP_ALLOC) -o $@ $^ $(LIB_LIBS)
$(B)/fuzz/q2gen: $(call obj,fuzz/mutator/q2gen.c fuzz/guard/look.c fuzz/guard/tree.c $(MUT_SRC))
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
$(B)/fuzz/q2guard: $(call obj,fuzz/guard/q2guard.c $(GUARD_SRC))
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^
$(B)/fuzz/q2keeps: $(B)/fuzz/guard/q2keeps.o $(B)/fuzz/targets.a $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) $(WRAP_ALLOC) -o $@ $^ $(LIB_LIBS)
$(B)/fuzz/q2canary.so: fuzz/guard/q2canary.c
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -O1 $(WARN) -fPIC -shared -o $@ $< -ldl
$(B)/fuzz/q2mut.so: $(call obj,fuzz/mutator/afl_glue.c $(MUT_SRC))
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -o $@ $^
$(B)/tests/qcowread: tests/map/qcowread.c
	@mkdir -p $(@D)
	$(call run,CC)
	$(Q)$(CC) $(STD) $(WARN) -O1 -o $@ $< $$($(PKG_CONFIG) --cflags --libs libqcow)
$(B)/tests/test_%: $(B)/tests/unit/test_%.o $(TESTIO) $(B)/libq2.a
	@mkdir -p $(@D)
	$(call run,LD)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(B)/libq2.a $(LIB_LIBS) \
		$$($(PKG_CONFIG) $(STATIC:%=-%) --libs check)

# What it decrypts is encrypted by libcrypto.
ifneq ($(CRYPTO),openssl)
$(B)/tests/test_crypt: private LIB_LIBS += $(shell $(PKG_CONFIG) $(STATIC:%=-%) --libs libcrypto)
endif
$(B)/tests/test_cli: $(call obj,$(addprefix lib/cli/,help.c option.c output.c progress.c size.c))
$(B)/tests/test_state: $(call obj,lib/cli/state.c lib/cli/state_whole.c)

$(B)/man/q2problems.7: $(B)/tests/q2problems
	@mkdir -p $(@D)
	@$< > $@
$(B)/man/q2.3: lib/q2.h lib/q2.3.in tests/support/q2man.awk
	@mkdir -p $(@D)
	@awk -f tests/support/q2man.awk lib/q2.h lib/q2.3.in > $@

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# --- the newcomer's commands ------------------------------------------------------
deps:
	@sh tests/support/deps.sh '$(TEST_DEPS_DEBIAN)' '$(DEPS_FEDORA)' \
		'$(DEPS_ALPINE)' '$(DEPS_ARCH)'

check: deps
	@$(MAKE) --no-print-directory check-all
check-all: test-programs
	@bash tests/run.sh $(B)

# The parts that exercise the library, for the sanitizer variants.
check-sanitized: test-programs
	@bash tests/run.sh $(B) fuzz unit cases conduct faults repair astray conduct-dump

demo: deps
	@$(MAKE) --no-print-directory all tools
	@bash tests/demo.sh $(B)

bench: deps
	@$(MAKE) --no-print-directory all bench-programs
	@bash tests/bench/bench.sh $(B)

# Programs for a rescue system: build/static/bin.  SHORT=short: tested in a minute.
static:
	@$(MAKE) --no-print-directory VARIANT=static static-programs
check-static: deps
	@$(MAKE) --no-print-directory all tools
	@$(MAKE) --no-print-directory VARIANT=static static-programs STATIC_TESTS=build/static/tests/test_crypt
	@bash tests/portable/static.sh build/static $(B) $(SHORT)

# FOREIGN="s390x i386 armhf"; EVERY=1: map and digest every image, too; OF=3: emulators
# take long, and get one image of three.
FOREIGN := s390x i386
EVERY := 10
OF := 1
check-portable: deps
	@sh tests/support/deps.sh '$(FOREIGN_DEPS_DEBIAN)' '' '' ''
	@$(MAKE) --no-print-directory all tools $(B)/fuzz/q2fuzz
	@bash tests/portable/run.sh '$(FOREIGN)' '$(EVERY)' '$(OF)'

# Debian has no libraries for musl to link with; check-musl-static makes them of its
# source packages, once.
.PHONY: check-musl check-musl-static
check-musl-static: deps
	@sh tests/support/deps.sh 'musl-tools cmake make dpkg-dev' '' '' ''
	@[ -e build/musl-root/complete ] || sh tests/portable/musl-libs.sh build/musl-root
	@$(MAKE) --no-print-directory all tools
	@$(MAKE) --no-print-directory VARIANT=musl static-programs STATIC_TESTS='build/musl/tests/q2mk build/musl/tests/q2keep'
	@bash tests/portable/musl-static.sh build/musl $(B)
check-musl: deps
	@sh tests/support/deps.sh musl-tools '' '' ''
	@bash tests/portable/musl.sh

lint: deps
	@$(MAKE) --no-print-directory all
	@bash tests/lint/run.sh $(B)
# What the analysers of `lint` compile with.
.PHONY: cflags abi abi-update coverage valgrind
cflags:
	@echo '$(STD) -Ilib $(LIB_CFLAGS) $(CLI_CFLAGS) $(MAP_CFLAGS)'

# The library's interface beside its description; see tests/lint/abi.py.
abi abi-update: deps
	@$(MAKE) --no-print-directory lib
	@python3 tests/lint/abi.py $(if $(filter abi,$@),check,update) $(B) $(CC)

# What the tests reach of lib/; PARTS="unit cases": of some parts of tests/run.sh.
coverage: deps
	@$(MAKE) --no-print-directory VARIANT=cov all test-programs
	@bash tests/coverage.sh build/cov $(PARTS)

# Memcheck on every image; EVERY=10: on every tenth.
valgrind: EVERY := 1
valgrind: deps
	@$(MAKE) --no-print-directory all tools
	@bash tests/valgrind.sh $(B) $(EVERY)

# --- fuzzing: TARGET=check TIME=60 FUZZER=afl|libfuzzer, see fuzz/README.md ------
FUZZ_DEPS_DEBIAN := $(TEST_DEPS_DEBIAN) afl++ clang llvm lld \
	libclang-rt-14-dev
.PHONY: corpus fuzz fuzz-campaign fuzz-gate fuzz-cov fuzz-table fuzz-repairs fuzz-speed fuzz-triage deps-fuzz deps-corpus fuzz-beats
deps-fuzz:
	@sh tests/support/deps.sh '$(FUZZ_DEPS_DEBIAN)' \
		'$(DEPS_FEDORA) american-fuzzy-lop-clang compiler-rt lld llvm' \
		'$(DEPS_ALPINE) afl++ compiler-rt lld llvm' \
		'$(DEPS_ARCH) afl++ compiler-rt lld llvm'
# What those need who only want the corpus and what goes with it.
deps-corpus:
	@sh tests/support/deps.sh '$(BUILD_DEPS_DEBIAN) jq zip' '$(DEPS_FEDORA)' \
		'$(DEPS_ALPINE)' '$(DEPS_ARCH)'
corpus: missing $(B)/tests/q2mk $(FUZZ)
	@bash fuzz/corpus.sh build $(B)/tests/q2mk build/corpus
fuzz: corpus
	@bash fuzz/campaign.sh run '$(or $(FUZZER),afl)' '$(or $(TARGET),check)' \
		'$(or $(TIME),60)'
fuzz-campaign: corpus
	@bash fuzz/campaign.sh campaign '$(or $(TIME),3600)'
fuzz-gate: corpus
	@bash fuzz/campaign.sh gate
fuzz-speed: corpus
	@bash fuzz/campaign.sh speed
fuzz-cov: corpus
	@bash fuzz/campaign.sh cov
fuzz-table: corpus all
	@bash fuzz/acceptance.sh $(B) build/corpus fuzz/README.md
fuzz-beats: all $(FUZZ)
	@bash fuzz/beats.sh $(B) '$(or $(COUNT),300)' fuzz/README.md
fuzz-repairs: all $(FUZZ)
	@bash fuzz/repairs.sh $(B) '$(or $(COUNT),10000)' '$(or $(SEED),1)'
fuzz-triage:
	@bash fuzz/campaign.sh triage

# --- installing -------------------------------------------------------------------
install: all
	@sh tests/support/install.sh install '$(B)' '$(DESTDIR)' '$(PREFIX)' '$(LIBDIR)' '$(UNITDIR)'
uninstall:
	@sh tests/support/install.sh uninstall '$(B)' '$(DESTDIR)' '$(PREFIX)' '$(LIBDIR)' '$(UNITDIR)'
installcheck: all
	@sh tests/support/install.sh check '$(B)' '' '$(PREFIX)' '$(LIBDIR)' '$(UNITDIR)'

clean:
	rm -rf build

# --- releases: of what is committed, into build/dist --------------------------------
RELEASE_DEPS_DEBIAN := $(BUILD_DEPS_DEBIAN) libnbd-dev git xz-utils dpkg-dev \
	debhelper lintian fakeroot debootstrap
.PHONY: dist deb debcheck
dist:
	@bash tests/support/release.sh dist build/dist '$(VERSION)'
deb debcheck:
	@sh tests/support/deps.sh '$(RELEASE_DEPS_DEBIAN)' '' '' ''
	@bash tests/support/release.sh $@ build/dist '$(VERSION)'
