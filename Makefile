# sprat - self-supervised pre-training of small vision models as a pipeline of programs
# make help lists the targets; knobs: DEV=1 (warnings are errors), SAN=address,undefined, BLAS=1 (without oneDNN), PLAIN=1 (no
# loops for wider instruction sets), CC=clang, SYSROOT (another machine's libraries, with its CC), KIND=avx2 (tests as on a
# processor without more: tests/kind), PREFIX, DESTDIR, DATA

TOOLS = augment encode loss probe
WINGS = base tensor stream image nn loss probe

SAN     ?=
PREFIX  ?= /usr/local
PYTHON  ?= /usr/bin/python3
CC      ?= gcc
OPT     ?= $(if $(SAN),-O1,-O2) -g

# Variants never share objects: every knob and another compiler have a part in the folder's name. POINTS: the stopping points of
# the kill tests.
comma   := ,
OTHER_CC := $(filter-out gcc cc,$(notdir $(lastword $(CC))))
KNOBS   := $(if $(BLAS),-blas)$(if $(PLAIN),-plain)$(if $(SAN),-san-$(subst $(comma),-,$(SAN)))$(OTHER_CC:%=-%)
VARIANT := $(if $(POINTS),points,release)$(KNOBS)
B       := build/$(VARIANT)
BIN     := $(if $(filter release,$(VARIANT)),bin,$B/bin)

# Before the packages are there whatever compiles stops with one sentence; check and demo install them first.
MACHINE := $(shell $(CC) -dumpmachine 2>/dev/null)
PKG_CONFIG := $(if $(SYSROOT),PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(MACHINE)/pkgconfig) \
	pkg-config
MSGPACK := $(shell $(PKG_CONFIG) --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)
PKGS    := libzmq $(MSGPACK) libjpeg libpng libwebpdemux zlib jansson
FOUND   := $(if $(MACHINE),$(shell $(PKG_CONFIG) --exists $(PKGS) openblas 2>/dev/null && \
	echo y $$($(PKG_CONFIG) --cflags $(PKGS))))
PACKAGES = $(if $(FOUND),$(wordlist 2,99,$(FOUND)),$(error $(CC) or a library is missing: pipelines/install-packages gets them \
	on Debian and names them elsewhere))
WARN     = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wshadow -Wpointer-arith -Wno-sign-compare \
	-Wno-missing-field-initializers \
	$(if $(DEV),-Werror) $(if $(findstring clang,$(OTHER_CC)),-Wno-pass-failed)
CPPFLAGS = -I. -D_GNU_SOURCE $(if $(POINTS),-DTEST_POINTS) $(if $(HAVE_DNNL),-DWITH_ONEDNN) $(PACKAGES) \
	$(if $(PLAIN),-DPLAIN) $(SYSROOT:%=--sysroot=%)
CFLAGS   = -std=gnu11 $(OPT) $(WARN) -fopenmp -fPIC -fno-math-errno $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
LDFLAGS  = -fopenmp $(if $(SAN),-fsanitize=$(SAN)) $(SYSROOT:%=--sysroot=%)

# oneDNN 2 and 3 are known, as built for threads that OpenMP counts (or for one): with another the build says it goes without.
DNNL := $(if $(BLAS),,$(shell echo DNNL_VERSION_MAJOR DNNL_CPU_THREADING_RUNTIME DNNL_RUNTIME_OMP DNNL_RUNTIME_SEQ | \
	$(CC) $(SYSROOT:%=--sysroot=%) -include dnnl.h -E -P -x c - 2>/dev/null | tail -n 1))
HAVE_DNNL := $(and $(filter 2 3,$(firstword $(DNNL))),$(filter $(word 2,$(DNNL)),$(wordlist 3,4,$(DNNL))))
$B/lib/tensor/backends.o: CFLAGS += $(if $(HAVE_DNNL)$(POINTS),,$(if $(DNNL),$(shell echo "make: this oneDNN is none of versions \
	2 and 3 with OpenMP (lib/tensor/onednn_describe.h): products are OpenBLAS's alone" >&2)))

# What each program may link: the house rule that keeps the wings apart. Floor order: stream, tensor, base.
ONEDNN   = $(if $(HAVE_DNNL),-ldnnl)
LINK     = -lzmq -l$(MSGPACK:msgpack=msgpackc)
augment-WINGS = image stream tensor base
augment-LIBS  = $(LINK) -ljpeg -lpng -lwebpdemux -lwebp -lz -ljansson -lm
encode-WINGS  = nn stream tensor base
encode-LIBS   = $(LINK) -lopenblas $(ONEDNN) -ljansson -lz -lm
loss-WINGS    = loss stream tensor base
loss-LIBS     = $(LINK) -lopenblas $(ONEDNN) -ljansson -lz -lm
probe-WINGS   = probe stream tensor base
probe-LIBS    = $(LINK) -lopenblas $(ONEDNN) -ljansson -lz -lm
ALL_LIBS      = $(LINK) -ljpeg -lpng -lwebpdemux -lwebp -lz -lopenblas $(ONEDNN) -ljansson -lm

# Sanitised loops would take minutes to compile at -O3.
O3 = $(if $(SAN),,-O3)
# Pixels must equal Pillow's: fused multiply-add would change them.
image-CFLAGS = $(O3) -ffp-contract=off
nn-CFLAGS    = $(O3) $(if $(findstring clang,$(OTHER_CC)),,-fno-unswitch-loops)
loss-CFLAGS  = $(O3)
probe-CFLAGS = $(O3)

.PHONY: all units-built tests-built run-tests check check-fast check-variants check-all bench demo clean install lint help
.PHONY: points fuzz
.SECONDARY:
.DELETE_ON_ERROR:

## all: the four programs in bin/
all: $(TOOLS:%=$(BIN)/%)

objects = $(patsubst %.c,$B/%.o,$(wildcard $(1)/*.c $(1)/*/*.c))
define wing_rules
$B/lib/$(1).a: $(call objects,lib/$(1))
	@rm -f $$@; $(AR) rcs $$@ $$^
$B/lib/$(1)/%.o: CFLAGS += $($(1)-CFLAGS)
endef
$(foreach w,$(WINGS),$(eval $(call wing_rules,$w)))

# The loops of lib/nn and lib/image are compiled once for each x86-64 level, lib/nn's loops over activations once more for each
# type of element; the machine's best is chosen at run time (kernels.c, pixels.c).
ISA_base-CFLAGS       = -fno-trapping-math
ISA_avx2-CFLAGS       = -fno-trapping-math -march=x86-64-v3
ISA_avx512-CFLAGS     = -fno-trapping-math -march=x86-64-v4 -mprefer-vector-width=512
ISA_avx512bf16-CFLAGS = $(ISA_avx512-CFLAGS) -mavx512bf16
ISA_amx-CFLAGS        = $(ISA_avx512bf16-CFLAGS) -mamx-tile -mamx-bf16
KERNELS       = $(patsubst %.c,%,$(wildcard lib/nn/kernels/kernels_*.c))
KERNELS_TYPED = $(addprefix lib/nn/kernels/kernels_,point layernorm table)
PIXELS        = $(patsubst %.c,%,$(wildcard lib/image/pixels_*.c))
# wing, files, instruction set, type of element
define kernel_rules
$(2:%=$B/%.$(3).$(4).o): $B/%.$(3).$(4).o: %.c
	@mkdir -p $$(@D)
	$(CC) $$(CPPFLAGS) $$(CFLAGS) $($(1)-CFLAGS) $(ISA_$(3)-CFLAGS) -DKERNELS_ISA=$(3) -DKERNELS_ELEMENT=$(4) \
		-MMD -MP -c -o $$@ $$<
$B/lib/$(1).a: $(2:%=$B/%.$(3).$(4).o)
endef
$(eval $(call kernel_rules,nn,$(KERNELS_TYPED),base,bf16))
ifeq ($(if $(PLAIN),,$(firstword $(subst -, ,$(MACHINE)))),x86_64)
$(foreach i,avx2 avx512 avx512bf16,$(eval $(call kernel_rules,nn,$(KERNELS),$i,f32)))
$(foreach i,avx2 avx512 avx512bf16,$(eval $(call kernel_rules,nn,$(KERNELS_TYPED),$i,bf16)))
$(foreach i,avx2 avx512,$(eval $(call kernel_rules,image,$(PIXELS),$i,u8)))
$B/lib/tensor/amx_run.o $B/lib/tensor/amx_pack.o: CFLAGS += $(nn-CFLAGS) $(ISA_amx-CFLAGS)
$B/tests/parity/shim_amx.o: CFLAGS += $(O3) $(ISA_avx512bf16-CFLAGS)
endif
$(patsubst %,$B/%.o,$(KERNELS) $(PIXELS)): CFLAGS += $(ISA_base-CFLAGS)

define tool_rules
$(BIN)/$(1): $(call objects,cmd/$(1)) $($(1)-WINGS:%=$B/lib/%.a)
	@mkdir -p $$(@D)
	$(CC) $(LDFLAGS) -o $$@ $$^ -Wl,--as-needed $($(1)-LIBS)
endef
$(foreach t,$(TOOLS),$(eval $(call tool_rules,$t)))

$B/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Tests and helpers in C: one program a file, linked with every wing.
ARCHIVES = $(foreach w,image nn loss probe stream tensor base,$B/lib/$w.a)
TESTS_C  = $(patsubst %.c,$B/%,$(wildcard tests/*/test_*.c bench/*.c))
$B/tests/%: $B/tests/%.o $(ARCHIVES)
	$(CC) $(LDFLAGS) -o $@ $^ -Wl,--as-needed $(ALL_LIBS)
$B/bench/%: $B/bench/%.o $(ARCHIVES)
	$(CC) $(LDFLAGS) -o $@ $^ -Wl,--as-needed $(ALL_LIBS)
# AMX where the machine has none, for tests (tests/parity/shim_amx.c).
EMULATED = -Wl,--wrap=amx_has,--wrap=amx_run
$B/tests/unit/test_amx: $B/tests/unit/test_amx.o $B/tests/parity/shim_amx.o $(ARCHIVES)
	$(CC) $(LDFLAGS) $(EMULATED) -o $@ $^ -Wl,--as-needed $(ALL_LIBS)
# The whole library as one shared object, for parity tests that call it from Python (ctypes) through tests/parity/shim_*.c.
$B/libparity.so: $(patsubst %.c,$B/%.o,$(wildcard tests/parity/shim_*.c)) $(ARCHIVES)
	$(CC) -shared $(LDFLAGS) $(EMULATED) -o $@ $(filter %.o,$^) -Wl,--whole-archive $(ARCHIVES) -Wl,--no-whole-archive \
		-Wl,--as-needed $(ALL_LIBS)

# Fuzz targets are built by clang, which has libFuzzer but not always an OpenMP; only what they touch is linked.
FUZZ_SECONDS ?= 20
FUZZ_FLAGS    = -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_SOURCES  = $(foreach w,base tensor stream image,$(wildcard lib/$w/*.c))
FUZZ_OBJECTS  = $(patsubst %.c,build/fuzz/%.o,$(filter-out %/threads.c %/amx_run.c %/amx_pack.c,$(FUZZ_SOURCES)))
build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	clang $(CPPFLAGS) -std=gnu11 $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
build/fuzz/lib.a: $(FUZZ_OBJECTS)
	@rm -f $@; $(AR) rcs $@ $^
build/fuzz/bin/%: build/fuzz/tests/fuzz/%.o build/fuzz/lib.a
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o $@ $^ $(augment-LIBS)

units-built: all $(filter $B/tests/%,$(TESTS_C))
tests-built: units-built $(TESTS_C) $B/libparity.so

## points: the programs with stopping points, for the kill tests (build/points/bin)
points:
	@$(MAKE) --no-print-directory POINTS=1 all

# As many compilers as processors, unless make was told.
PARALLEL = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

RUN = PYTHON=$(PYTHON) B=$B BIN=$(BIN) $(KIND:%=tests/kind %) tests/run
run-tests:
	@$(RUN)

## check: install what is missing, build, run all tests; DATA=folder of real data
check:
	@pipelines/install-packages
	@$(MAKE) --no-print-directory -s $(PARALLEL) tests-built points
	@$(RUN)

## check-fast: the same for a smoke of every wing, one pipeline and one kill (within a minute once built; needs no PyTorch)
check-fast:
	@pipelines/install-packages --fast
	@$(MAKE) --no-print-directory -s $(PARALLEL) tests-built
	@TIER=fast $(RUN)

## check-variants: other compilers, processors and libraries, sanitisers, and what the fuzzers found (within half an hour)
check-variants:
	@pipelines/install-packages
	@tests/variants/run

## check-all: check with every size, every moment of a kill, and batches beyond memory; the streams' tests under TSan, ten minutes
## check-all: of each fuzzer, both commands on a machine from nothing (by hand: some hours)
check-all:
	@FULL=1 TEST_TIMEOUT=3600 $(MAKE) --no-print-directory check
	@tests/variants/run --all
	@tests/fresh

## fuzz: run every libFuzzer target for FUZZ_SECONDS (20; 0: only what is known already, once); needs clang
fuzz: $(patsubst tests/fuzz/%.c,build/fuzz/bin/%,$(wildcard tests/fuzz/fuzz_*.c))
	@$(PYTHON) tests/fuzz/seeds build/fuzz/corpus
	@for t in $^; do mkdir -p "build/fuzz/corpus/$${t##*/}" && \
		"$$t" $(if $(filter 0,$(FUZZ_SECONDS)),-runs=0,-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1) \
			-max_len=70000 -rss_limit_mb=1024 -timeout=$(if $(filter 0,$(FUZZ_SECONDS)),10,2) -verbosity=0 \
			-artifact_prefix=build/fuzz/ "build/fuzz/corpus/$${t##*/}" || exit 1; done

## bench: measure side by side with PyTorch, torchvision and Pillow; one JSON object a line
bench: tests-built
	@PYTHON=$(PYTHON) B=$B BIN=$(BIN) bench/run

## demo: install what is missing, build, pre-train on Fashion-MNIST, evaluate (4 minutes on two cores held to AVX2)
demo:
	@pipelines/demo

## lint: shell, Python, man pages, house rules
lint:
	@tests/lint/run

## install: programs, pipelines, man pages and python/ below PREFIX
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5
	install -d $(DESTDIR)$(PREFIX)/share/sprat/pipelines $(DESTDIR)$(PREFIX)/share/sprat/python/examples
	install $(TOOLS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(foreach t,$(TOOLS),cmd/$t/$t.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 lib/stream/wire.5 $(DESTDIR)$(PREFIX)/share/man/man5
	install $(wildcard pipelines/*) $(DESTDIR)$(PREFIX)/share/sprat/pipelines
	install -m 644 $(wildcard python/*.py) $(DESTDIR)$(PREFIX)/share/sprat/python
	install python/check-stage $(DESTDIR)$(PREFIX)/share/sprat/python
	install $(wildcard python/examples/*.py) $(DESTDIR)$(PREFIX)/share/sprat/python/examples

clean:
	rm -rf build bin

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

-include $(shell find $B build/fuzz -name '*.d' 2>/dev/null)
