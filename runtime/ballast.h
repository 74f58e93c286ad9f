/* Ballast: keeps the experts of a Mixture-of-Experts model evenly loaded over the ranks of a
 * communicator while the model runs. The one header an engine includes; plain C.
 *
 * How it is used, on every rank alike:
 *
 *     ballast_config config;
 *     ballast_config_init(&config);
 *     config.layers = 58; config.experts = 256; config.slots_per_rank = 9; ...
 *     ballast_create(&config, comm, &context);
 *     for each layer: ballast_register_layer(context, layer, tensors, tensor_count);
 *     ballast_start(context);
 *     for each forward pass:
 *         for each layer: ballast_record_route(...);  ... the model ...
 *         ballast_step(context, NULL);
 *     ballast_destroy(context);
 *
 * Weights, ids and counts are in host memory (BALLAST_BACKEND_HOST), or on this rank's GPU
 * (BALLAST_BACKEND_CUDA). On a GPU, everything that a pass sees is ordered on the caller's stream;
 * record and route may be captured in CUDA graphs, ballast_step is called between their launches,
 * never while a stream of this thread is captured, and waits for no GPU.
 *
 * Rules for the whole interface:
 * - A context belongs to one thread at a time; there are no locks in it. Several contexts live side
 * by side.
 * - MPI_THREAD_FUNNELED is enough: Ballast calls MPI on the caller's thread only, inside Ballast
 * calls only, and on its own duplicates of the caller's communicator, whose errors it turns into
 * statuses. With less (MPI_THREAD_SINGLE, which MPI_Init may give) ballast_create logs a warning.
 * - "Collective" means every rank of the context's communicator must make the call, in the same
 * order. A rank that fails its local checks still takes part, so every rank returns the same error
 * and none waits.
 * - Every function returns a ballast_status; outputs are written only on BALLAST_OK. The text of
 * the last error on this thread is ballast_last_error().
 * - Pointers passed in are not kept after the call unless the function says so.
 * - Structs begin with their own size, set by their initialiser; fields are only ever appended.
 */
#ifndef BALLAST_H
#define BALLAST_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#define BALLAST_VERSION_MAJOR 0
#define BALLAST_VERSION_MINOR 1
#define BALLAST_VERSION_PATCH 0

/* The policy that plans when none is named. */
#define BALLAST_DEFAULT_POLICY "flow"

#if defined(BALLAST_BUILDING)
#define BALLAST_API __attribute__((visibility("default")))
#else
#define BALLAST_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- status -------------------------------------------------------------------------- */

typedef enum ballast_status {
  BALLAST_OK = 0,
  BALLAST_ERROR_INVALID_ARGUMENT =
      -1, /* an argument or a field is wrong; the text names it and its value */
  BALLAST_ERROR_CONFIG_MISMATCH =
      -2,                   /* ranks do not agree on a field; the text names field and ranks */
  BALLAST_ERROR_STATE = -3, /* the call does not fit what was called before */
  BALLAST_ERROR_MPI = -4,   /* an MPI call failed */
  BALLAST_ERROR_DEADLINE =
      -5, /* ranks did not answer in time; the text names them; the context is dead */
  BALLAST_ERROR_MEMORY = -6,  /* an allocation failed; the text states the bytes */
  BALLAST_ERROR_SYSTEM = -7,  /* the operating system refused something */
  BALLAST_ERROR_INTERNAL = -8 /* a bug in Ballast */
} ballast_status;

/* Local. The text of the last error that a Ballast call returned on this thread, or "". Valid until
 * the next call. */
BALLAST_API const char* ballast_last_error(void);

/* Local. A short name of the status ("config mismatch"). Never NULL. */
BALLAST_API const char* ballast_status_name(ballast_status status);

/* Local. The version of the library that is loaded, e.g. "0.1.0". */
BALLAST_API const char* ballast_version(void);

/* ---- links and topology -------------------------------------------------------------- */

/* How two ranks reach each other, nearest first; also the index of every array by link class. */
enum {
  BALLAST_LINK_LOCAL = 0,
  BALLAST_LINK_ISLAND = 1,
  BALLAST_LINK_NODE = 2,
  BALLAST_LINK_REMOTE = 3,
  BALLAST_LINK_CLASSES = 4
};

typedef struct ballast_topology ballast_topology;

typedef struct ballast_rank_place {
  size_t struct_size;
  int32_t node;   /* numbered over the cluster */
  int32_t island; /* ranks that reach each other by NVLink, or by shared memory where there is no
                     GPU; over the cluster */
  int32_t local_rank; /* in the node */
  int32_t package;    /* in the node; -1 if unknown, as the next three */
  int32_t numa;
  int32_t gpu;
  int32_t nic;
  char host[64]; /* cut to fit, "" if unknown; so the next two */
  char gpu_bus_id[32];
  char gpu_model[64];
  char nic_name[32];
} ballast_rank_place;

/* Collective over `comm`, blocking. Reads this rank's node with hwloc and gathers all ranks' into
 * one map. `source`: NULL or "" this machine; a path ending in ".xml" an hwloc XML; otherwise a
 * synthetic hwloc string. `ranks_per_node`: 0 finds nodes by shared memory; N > 0 imitates nodes of
 * N consecutive ranks each.
 * `*topology` is the caller's, to be given to ballast_topology_destroy.
 * INVALID_ARGUMENT (on all ranks, naming the rank): source unreadable; an intercommunicator. MPI,
 * MEMORY, DEADLINE. STATE: MPI is not initialised or finalised already. */
BALLAST_API ballast_status ballast_topology_create(MPI_Comm comm, const char* source,
                                                   int32_t ranks_per_node,
                                                   ballast_topology** topology);

/* Local, no MPI. A made-up map of `ranks` ranks: every node of `ranks_per_node` ranks looks like
 * `source` (NULL or "": no devices, every node one island). INVALID_ARGUMENT: ranks or
 * ranks_per_node < 1, source unreadable. */
BALLAST_API ballast_status ballast_topology_imitate(int32_t ranks, int32_t ranks_per_node,
                                                    const char* source,
                                                    ballast_topology** topology);
BALLAST_API void ballast_topology_destroy(ballast_topology* topology); /* NULL is allowed */

BALLAST_API ballast_status ballast_topology_counts(const ballast_topology* topology, int32_t* ranks,
                                                   int32_t* nodes,
                                                   int32_t* islands); /* any output may be NULL */
/* `place->struct_size` must be set. INVALID_ARGUMENT: rank out of range. */
BALLAST_API ballast_status ballast_topology_place(const ballast_topology* topology, int32_t rank,
                                                  ballast_rank_place* place);
BALLAST_API ballast_status ballast_topology_link(const ballast_topology* topology,
                                                 int32_t from_rank, int32_t to_rank, int32_t* link);
/* Nanoseconds to move one MiB, by link class. */
BALLAST_API ballast_status ballast_topology_costs(const ballast_topology* topology,
                                                  int64_t ns_per_mib[BALLAST_LINK_CLASSES]);

/* ---- configuration ------------------------------------------------------------------- */

enum {
  BALLAST_MODE_DYNAMIC = 0, /* plan and move */
  BALLAST_MODE_RECORD = 1,  /* plan and report, move nothing */
  BALLAST_MODE_STATIC = 2   /* neither */
};
enum {
  BALLAST_WAY_AUTO = 0,
  BALLAST_WAY_VACATE = 1,
  BALLAST_WAY_SPARE = 2,
  BALLAST_WAY_STAGED = 3
};
enum {
  BALLAST_VERIFY_FULL = 0,   /* every move */
  BALLAST_VERIFY_SAMPLE = 1, /* one move in eight */
  BALLAST_VERIFY_OFF = 2
};
/* Where weights, ids and counts are. */
enum { BALLAST_BACKEND_HOST = 0, BALLAST_BACKEND_CUDA = 1 };
/* How weights travel between two GPUs. AUTO: by copy engine where one can read the other's memory
 * (CUDA IPC, or the file descriptors of memory that was mapped, as PyTorch's expandable segments are),
 * which is proven at ballast_start, by NCCL elsewhere. COPY and NCCL force one. The host backend has
 * MPI only; LOCAL is what a rank is to itself. */
enum {
  BALLAST_TRANSPORT_AUTO = 0,
  BALLAST_TRANSPORT_COPY = 1,
  BALLAST_TRANSPORT_NCCL = 2,
  BALLAST_TRANSPORT_MPI = 3,
  BALLAST_TRANSPORT_LOCAL = 4
};
enum {
  BALLAST_LOG_ERROR = 0,
  BALLAST_LOG_WARNING = 1,
  BALLAST_LOG_INFO = 2,
  BALLAST_LOG_DEBUG = 3
};

/* From the series of past windows to the window that is planned for. */
enum {
  BALLAST_PREDICTION_AUTO = 0,  /* the memory that would have foretold the series best, and flow
                                   plans for how far off that has been too */
  BALLAST_PREDICTION_SUM = 1,   /* the sum of the windows */
  BALLAST_PREDICTION_DECAY = 2, /* exponential */
  BALLAST_PREDICTION_ROBUST = 3 /* their mean, and how far windows have been off it */
};

/* Called on the caller's thread, inside Ballast calls. `text` is one line without newline, valid
 * during the call. */
typedef void (*ballast_log_function)(void* user, int32_t level, const char* text);

/* What a plan evens out over the ranks. */
enum {
  BALLAST_OBJECTIVE_TOKENS = 0,      /* the tokens that a rank computes */
  BALLAST_OBJECTIVE_ACTIVATIONS = 1  /* the experts that a rank has to read in a pass, for decoding
                                        that is bound by memory: each expert is served by one
                                        replica at a time. Route by BALLAST_ROUTE_SHARES then */
};

/* What a rank may be used for. Whichever it is, its process makes all collective calls; Ballast does
 * not survive the death of one. */
enum {
  BALLAST_RANK_SERVES = 0,
  BALLAST_RANK_GONE = 1,    /* no weights are there, come from there or go there: a GPU that failed,
                               a rank that has not joined yet */
  BALLAST_RANK_DRAINING = 2 /* serves until the next epoch has moved its experts away: plans leave
                               it empty whatever the limits and however small the gain, and weights
                               may still be read from it */
};

typedef struct ballast_config {
  size_t struct_size;
  int32_t layers;         /* no default; 1..4096 */
  int32_t experts;        /* no default; per layer, 1..65536 */
  int32_t slots_per_rank; /* no default; 1..1024; slots_per_rank * ranks >= experts */
  int32_t spare_rows; /* 0; rows per rank and layer beyond the slots, kept empty so that moves can
                         land in them */
  int32_t groups;     /* 1; of experts, for hierarchical policies */
  int32_t compatible; /* 0; nonzero: the policy's published rules to the letter */
  const char* policy; /* BALLAST_DEFAULT_POLICY; see ballast_policy_name. Not kept */
  int32_t mode;       /* BALLAST_MODE_DYNAMIC */
  int32_t way;        /* BALLAST_WAY_AUTO */
  int32_t verify;     /* BALLAST_VERIFY_FULL */
  int32_t consensus_lag; /* 2; steps between posting and reading a vote; 1..16 */
  int64_t interval;      /* 1000; steps between epochs */
  int64_t window; /* 0: as interval; steps whose loads an epoch sums. Beyond the interval, rounded
                     up to a multiple */
  int32_t balance_min_permille; /* 1000; an epoch acts only if the balance is below this */
  int32_t gain_min_permille;    /* 5; an epoch moves only for a balance better by this */
  int64_t max_moves;            /* -1: no limit; per layer and epoch */
  int64_t max_bytes;            /* -1: no limit; received per rank and epoch */
  int32_t staging_experts;      /* 2; staging rows per rank in each of the two halves */
  int32_t receives_per_batch;   /* 8; experts one rank receives in one batch */
  int64_t bytes_per_step;       /* bytes a rank sends (host, to the next 256 KiB) or receives (GPU,
                                   to the next expert; by copy engine and by NCCL so much each) per
                                   step; -1: unpaced; 0: unpaced on the host, 12 MiB on a GPU, where
                                   even a copy engine takes memory bandwidth from the model. A paced
                                   step of a GPU also enqueues no more than about 16 copies, which
                                   cost the host some 5 us each */
  int32_t planner_threads;      /* 1 */
  int32_t objective;            /* BALLAST_OBJECTIVE_TOKENS */
  uint64_t seed;                /* 1 */
  double deadline_seconds;      /* 30; no phase and no wait lasts longer */
  const int32_t* placement;     /* NULL: slot i holds expert i mod experts. Else [layers][ranks *
                                   slots_per_rank]. Not kept */
  const int32_t* shares; /* NULL: equal. Else as `placement`, each expert's sum 65536. Not kept */
  const ballast_topology* topology; /* NULL: read from this machine. Not kept */
  ballast_log_function log;         /* NULL: rank 0 writes warnings and errors to stderr */
  void* log_user;
  const char* drill; /* NULL. A fault to rehearse, "KIND:RANK:EPOCH" with KIND digest, checksum,
                        source, error or stall; see ballast_drill_kinds. Not kept */
  int32_t backend;   /* BALLAST_BACKEND_HOST */
  int32_t transport; /* BALLAST_TRANSPORT_AUTO */
  int32_t device;    /* -1: the current one of this thread; else CUDA's number */
  int32_t nccl_ctas; /* 2; CTAs that NCCL may use for weights, 1..64 */
  int32_t hash_ctas; /* 0; CTAs of the kernels that check what arrived and copy inside a GPU, up to
                        1024; 0: 2 where bytes_per_step paces, 8 where it does not: they keep up
                        with NVLink */
  int32_t reserved_cuda; /* 0 */
  void* stream; /* NULL: the legacy default stream. A cudaStream_t, the caller's, on which the model
                   computes; until ballast_destroy */
  int32_t prediction;     /* BALLAST_PREDICTION_AUTO; what window an epoch plans for */
  int32_t memory_windows; /* 32; past windows of epochs that are kept for it; 1..256 */
  int32_t decay_shift;    /* 1; BALLAST_PREDICTION_DECAY: a window counts 1 - 2^-shift of the one
                             after it; 1..16 */
  int32_t reserved_prediction; /* 0 */
  int64_t token_ns; /* nanoseconds that one more token on the fullest rank of a layer costs a step; 0:
                       measured where ballast_record_time is called, else not known */
  int64_t horizon;  /* 0: no rule; steps after which moves must have paid off, where the time of a
                       token is known. An epoch that does not pay only shares anew */
  int64_t max_moves_total; /* -1: no limit; of all layers per epoch, spent where they buy most */
  int64_t max_bytes_per_link[BALLAST_LINK_CLASSES]; /* -1: no limit; received per epoch by all ranks
                              over links of a class, from the nearest rank that has the expert */
  int32_t equal_shares;    /* 0; nonzero: `flow` splits tokens equally over an expert's replicas */
  int32_t past_window_count; /* 0; of past_windows; 0..256 */
  const int64_t* past_windows; /* NULL. Else [past_window_count][layers][experts], tokens, oldest
                                  first: what epochs predict from besides their own windows, e.g.
                                  what a job before this one has read by ballast_past_window; the
                                  newest memory_windows - 1 are kept. Not kept */
  int32_t moves_saved; /* 0: none; so many times max_moves are there at first and may be saved up:
                          an epoch that finds layers far from even then makes more moves than
                          max_moves, one that finds them nearly even fewer; 0..1000 */
  int32_t reserved_saved; /* 0 */
  const int32_t* slots_per_layer; /* NULL: slots_per_rank in every layer. Else [layers], each 1 to
                                     slots_per_rank: no rank hosts more experts of the layer. Its
                                     rows are then slots_per_layer + spare_rows; those beyond need
                                     no memory and never get an expert, though slots are numbered
                                     as if they were there. See ballast_slots_choose. Not kept */
  const int32_t* rank_speed;   /* NULL: all the same. Else [ranks], 1..65536: `flow` evens out load
                                  over speed, and balance is of that. Not kept */
  const uint8_t* masked_ranks; /* NULL: all serve. Else [ranks], BALLAST_RANK_*. Not kept */
} ballast_config;

/* Local. Fills the defaults above; the fields without a default become 0. */
BALLAST_API void ballast_config_init(ballast_config* config);

/* Local. How many GPUs this process sees; 0 also where this build or machine has no CUDA. */
BALLAST_API ballast_status ballast_device_count(int32_t* count);

/* Local. The name of the index-th policy, first Ballast's own, then those registered; NULL past the
 * last. */
BALLAST_API const char* ballast_policy_name(int32_t index);

/* What a policy of your own is asked. `layers` layers are to be planned, the first of them is
 * number `first_layer` of the model; arrays are of these layers alone, in host memory, and valid
 * during the call. Slots count over all ranks: rank r owns [slot_first[r], slot_first[r + 1]). */
typedef struct ballast_policy_question {
  size_t struct_size;
  int32_t first_layer, layers, experts, ranks, slots;
  int32_t windows;               /* of `series`; 0: there is none */
  const int64_t* loads;          /* [layers][experts], tokens */
  const int64_t* const* series;  /* [windows] of [layers][experts], oldest first */
  const int32_t* slot_first;     /* [ranks + 1] */
  const int32_t* usable_slots;   /* [ranks] how many slots of a rank may hold an expert; 0: dead */
  const int32_t* node_of_rank;   /* [ranks] */
  const int32_t* island_of_rank; /* [ranks] */
  const int32_t* experts_now;    /* [layers][slots], -1 empty */
  const int32_t* shares_now;     /* [layers][slots] */
  int64_t max_moves;             /* -1: no limit; per layer */
  int64_t max_bytes;             /* -1: no limit; that one rank receives, over all layers */
  int64_t expert_bytes;          /* 0: unknown, then max_bytes does not count */
  int32_t groups;                /* of experts */
  int32_t reserved;
  uint64_t seed;
  const int32_t* slots_per_layer; /* NULL, or [layers]: no rank holds more experts of the layer,
                                     whatever usable_slots says */
} ballast_policy_question;

enum {
  BALLAST_POLICY_DONE = 0,         /* experts and shares are as they shall be */
  BALLAST_POLICY_EQUAL_SHARES = 1, /* experts are; every expert's tokens split equally */
  BALLAST_POLICY_FAILED = -1       /* or anything else: no plan, the epoch is dropped */
};

/* `experts`, `shares`: [layers][slots], as in the question; they come filled with what is now.
 * Called on the planner's thread (or inside ballast_plan_create), one call at a time per context.
 * It must be a function of the question alone: ranks that plan differently drop the epoch. It must
 * not call Ballast or MPI. What it plans is checked: every expert hosted, none twice on a rank,
 * only usable slots, shares that sum to 65536, and the limits. */
typedef int32_t (*ballast_policy_function)(void* user, const ballast_policy_question* question,
                                           int32_t* experts, int32_t* shares);

typedef struct ballast_policy {
  size_t struct_size;
  const char* name;                     /* 1 to 63 of a-z, 0-9, '-' and '_'. Not kept */
  ballast_policy_function plan_layer;   /* asked for one layer at a time; */
  ballast_policy_function plan_request; /* or for all layers at once: one of the two is NULL */
  void* user;                           /* handed to the function */
} ballast_policy;

/* Local; from any thread. Makes a policy known by its name to every later ballast_create and
 * ballast_plan_create of this process, for good: function and `user` must live as long.
 * INVALID_ARGUMENT: a bad name, none or two functions, a name that is taken. */
BALLAST_API ballast_status ballast_policy_register(const ballast_policy* policy);

/* Local. "digest, checksum, ...": what `drill` understands, for help texts. */
BALLAST_API const char* ballast_drill_kinds(void);

/* ---- context ------------------------------------------------------------------------- */

typedef struct ballast_context ballast_context;

/* Collective, blocking. Duplicates `comm`, an intracommunicator (the caller's error handler stays as
 * it is), compares all ranks' configurations in one fixed-size exchange before anything whose size
 * depends on them, reads the topology, and allocates all that needs no weights. INVALID_ARGUMENT,
 * CONFIG_MISMATCH, MEMORY, MPI, DEADLINE: the same on all ranks; nothing is left behind. STATE: MPI
 * is not initialised or finalised already. */
BALLAST_API ballast_status ballast_create(const ballast_config* config, MPI_Comm comm,
                                          ballast_context** context);

/* One tensor of a layer's experts on this rank: row i begins at base + i * row_stride and holds
 * row_bytes bytes of the expert in row i. Rows: slots_per_rank (or the layer's slots_per_layer) +
 * spare_rows; slot p of this rank is row p. */
typedef struct ballast_tensor {
  void* base; /* host memory, or memory of this context's GPU, allocated or mapped (cuMemMap, also in
               * several pieces); the caller's, until ballast_destroy. Memory that was mapped the
               * island's other ranks open by its file descriptors, for which this process lets all
               * processes of its user trace it (PR_SET_PTRACER). Large rows at multiples of 64 KiB
               * were never pulled slowly by GPUs, others sometimes were */
  size_t row_bytes;  /* > 0; the same on all ranks */
  size_t row_stride; /* >= row_bytes */
} ballast_tensor;

/* Local. Registers the tensors of `layer` in the order that all ranks use: 1..64 of them.
 * INVALID_ARGUMENT: layer out of range or registered, NULL base, zero bytes, stride too small,
 * tensors that overlap, also those of other layers (layer and tensor named); with the CUDA backend
 * also host, managed, freed and other devices' memory, and rows beyond their allocation. STATE:
 * after ballast_start. */
BALLAST_API ballast_status ballast_register_layer(ballast_context* context, int32_t layer,
                                                  const ballast_tensor* tensors,
                                                  int32_t tensor_count);

/* Local. `bytes` of memory of the kind that the context's tensors are in, the library's, until
 * ballast_destroy. On a GPU it is of cudaMalloc, which the copy engines of the island's other GPUs
 * can read. MEMORY. STATE: after ballast_start. */
BALLAST_API ballast_status ballast_alloc(ballast_context* context, size_t bytes, void** memory);

/* Collective, blocking. Compares tensor sizes over ranks, hashes every occupied row and checks that
 * all replicas of an expert are the same bytes, allocates staging, warms the connections and starts
 * the planner thread. Weights must be in place, on a GPU in the order of the context's stream, and
 * nobody may write to the allocations that hold rows until it returns (their first bytes prove that
 * the other GPUs can read them). STATE: a layer is not registered. CONFIG_MISMATCH:
 * sizes differ, or replicas do (layer, expert and ranks named). MEMORY, MPI, DEADLINE. SYSTEM: two
 * GPUs cannot be linked in the way asked for (ranks named), or NCCL is missing or too old. After an
 * error only ballast_destroy is allowed. */
BALLAST_API ballast_status ballast_start(ballast_context* context);

/* Collective, blocking up to the deadline: finishes transfers and a plan under way without
 * committing them. NULL is allowed (and then local). `context` is not to be used again whatever it
 * returns. DEADLINE: ranks are silent, or a policy has not come back; what MPI or the planner's
 * thread still use is left to the process's end. After an error of ballast_step, but for
 * CONFIG_MISMATCH, it does not wait where there are other ranks, leaves as much, and returns that
 * error. */
BALLAST_API ballast_status ballast_destroy(ballast_context* context);

/* ---- recording and routing ----------------------------------------------------------- */

enum { BALLAST_IDS_INT32 = 0, BALLAST_IDS_INT64 = 1 };

/* Top-k choices of one layer in one pass. */
typedef struct ballast_ids {
  size_t struct_size;
  const void* ids; /* [tokens][columns], row-major; on the context's GPU with the CUDA backend */
  int32_t type;    /* BALLAST_IDS_INT32 */
  int32_t columns; /* k, shared columns included; >= 1 */
  int64_t tokens;
  int64_t valid_tokens;   /* rows from here on are padding; = tokens if there is none */
  int32_t shared_columns; /* trailing columns that are neither counted nor routed */
  int32_t reserved;
  void* stream; /* CUDA backend: the stream to work on, joined with the context's before the pass's
                   ballast_step; also one being captured, and then a ballast_step comes before the
                   first replay. NULL: the context's */
  const int64_t* valid_tokens_at; /* CUDA backend: NULL, or device memory that holds valid_tokens when
                                     the kernel runs, for captured graphs */
} ballast_ids;
BALLAST_API void ballast_ids_init(ballast_ids* ids);

/* Local, does not block. Adds the counts to this pass; ids of -1 are skipped, other ids out of
 * range are skipped and counted (ballast_counters; on a GPU when the window is cut). Does nothing in
 * steps outside the window. INVALID_ARGUMENT, STATE (before ballast_start). */
BALLAST_API ballast_status ballast_record(ballast_context* context, int32_t layer,
                                          const ballast_ids* ids);

/* Local, does not block. The same for an engine that has counts already: `counts` [experts], tokens
 * this rank routed in this pass. INVALID_ARGUMENT: a negative count or one that overflows the
 * window (layer and expert named); nothing is added then. CUDA backend: `counts` is device memory,
 * read on the context's stream; negative counts are skipped and counted as ids out of range. */
BALLAST_API ballast_status ballast_record_counts(ballast_context* context, int32_t layer,
                                                 const int64_t* counts);

/* Local, does not block. How long this rank's experts took, all layers together, in one pass; 0 to
 * 10^12 nanoseconds, added up if told in parts. As the engine knows it: by two events on a GPU, read
 * when they have passed, be it a few steps later. Any passes and any ranks may be left out; best told
 * are those of the ranks that others wait for. Does nothing in steps outside the window.
 *
 * From it, where config.token_ns is 0, an epoch knows what a token costs, and so when moves pay off
 * (ballast_epoch::payback_steps, config.horizon): the mean time of the rank that took longest over
 * the tokens that it had. The means travel with the loads, so all ranks conclude the same; but what
 * is measured is not the same in every run, and with a horizon plans need not be either. Links then
 * cost what weights have taken to arrive so far (host backend), others what the topology says.
 * INVALID_ARGUMENT, STATE (before ballast_start). */
BALLAST_API ballast_status ballast_record_time(ballast_context* context, int64_t ns);

enum {
  BALLAST_ROUTE_SHARES = 0,
  BALLAST_ROUTE_LOCAL = 1,
  BALLAST_ROUTE_ROUND_ROBIN = 2,
  BALLAST_ROUTE_UNIFORM = 3,
  BALLAST_ROUTE_RANK_INVARIANT = 4
};

/* Local, does not block. Logical ids to physical slots, a pure function of rank, token index, step,
 * expert and tables (rank excepted with RANK_INVARIANT). `slots`: [tokens][columns] of the ids'
 * type. Ids of -1, out of range and of padding rows become -1; shared columns are copied. LOCAL
 * prefers a replica on this rank, then on this node, then goes by shares. INVALID_ARGUMENT, STATE.
 */
BALLAST_API ballast_status ballast_route(ballast_context* context, int32_t layer,
                                         const ballast_ids* ids, int32_t mode, void* slots);

/* Local, does not block. ballast_record and ballast_route of the same ids; on a GPU one kernel that
 * reads them once. */
BALLAST_API ballast_status ballast_record_route(ballast_context* context, int32_t layer,
                                                const ballast_ids* ids, int32_t mode, void* slots);

/* ---- the step ------------------------------------------------------------------------ */

enum {
  BALLAST_PHASE_IDLE = 0,
  BALLAST_PHASE_REDUCE = 1,
  BALLAST_PHASE_PLAN = 2,
  BALLAST_PHASE_EXCHANGE = 3,
  BALLAST_PHASE_DRAIN = 4
};

typedef struct ballast_step_result {
  size_t struct_size;
  int64_t step;           /* this call's number, from 0 */
  int32_t phase;          /* after this call */
  int32_t tables_changed; /* nonzero if this call changed a layer's tables */
  int32_t epoch_closed;   /* nonzero if this call closed an epoch; its report is the newest */
  int32_t reserved;
} ballast_step_result;

/* Collective; every rank calls it once per forward pass, after the pass. Folds the pass's counts
 * into the window and drives the epoch in flight. Does not block, except on a rank that is more
 * than consensus_lag steps behind, and then up to the deadline. Allocates nothing while nothing
 * goes wrong. `result` may be NULL. Returns OK also when an epoch was dropped (see the epoch's
 * report). DEADLINE: ranks silent for deadline_seconds; they are named on every rank that still
 * answers. CONFIG_MISMATCH: ranks call with different step numbers. MPI. MEMORY. SYSTEM: a GPU or
 * NCCL has failed. After any of these every later call returns the same. INVALID_ARGUMENT:
 * result->struct_size is unknown; the step was made all the same and is gone on from. */
BALLAST_API ballast_status ballast_step(ballast_context* context, ballast_step_result* result);

/* Local. From the next step on no epoch is triggered; one in flight is dropped (BALLAST_DROP) or
 * finished (BALLAST_FINISH). All ranks must call it between the same two steps. */
enum { BALLAST_DROP = 0, BALLAST_FINISH = 1 };
BALLAST_API ballast_status ballast_pause(ballast_context* context, int32_t how);
BALLAST_API ballast_status ballast_resume(ballast_context* context);

/* Collective, blocking up to the deadline, between two steps while no epoch is in flight (see
 * ballast_pause). Ranks change speed or are masked from here on: both arguments are as in
 * ballast_config, NULL again for the same speed and for ranks that all serve. Slots of a rank that is
 * GONE stop serving at once; routing tables change in this call as in ballast_step. A rank that serves
 * again is empty until an epoch fills it. On all ranks the same, and nothing is changed, after
 * INVALID_ARGUMENT (a value is out of range; an expert would lose its last replica and was not loaded
 * again, see ballast_lost, layer and expert named; the policy cannot plan for what is left), CONFIG_MISMATCH (ranks do not say the same) and
 * STATE (an epoch is in flight; before ballast_start). DEADLINE, MPI. */
BALLAST_API ballast_status ballast_ranks_set(ballast_context* context, const int32_t* rank_speed,
                                             const uint8_t* masked_ranks);

typedef struct ballast_loss {
  size_t struct_size;
  int32_t layer, expert;
  int32_t slot, rank; /* where it may be loaded again: row slot % rows_per_rank of that rank; -1:
                         there is no room for it on ranks that serve */
} ballast_loss;

/* Local, the same on all ranks. The index-th expert, by layer, of which ranks that are GONE in
 * `masked_ranks` (as in ballast_ranks_set) hold all replicas, and where its weights may be loaded
 * again: a row that is empty, or one whose expert has other replicas. For a rank that fails, between
 * two steps while no epoch is in flight:
 *
 *     for (index = 0; ballast_lost(context, masked, index, &loss) == BALLAST_OK; ++index)
 *       if (loss.rank == rank) load the expert's weights, from a checkpoint, into its row;
 *     ballast_ranks_set(context, NULL, masked);
 *
 * which checks them against the expert's hash and lets the rows serve it. Weights must be complete,
 * on a GPU too, before that call. Until it has returned OK a row written to still serves what it
 * held, so there must be no pass in between. `loss->struct_size` must be set. STATE: there is none at
 * that index; an epoch is in flight; before ballast_start. INVALID_ARGUMENT: a value is out of
 * range. */
BALLAST_API ballast_status ballast_lost(const ballast_context* context, const uint8_t* masked_ranks,
                                        int32_t index, ballast_loss* loss);

/* ---- what is where, and what was done ------------------------------------------------ */

typedef struct ballast_layer_tables {
  size_t struct_size;
  const int32_t* expert_of_slot; /* [rows of all ranks], -1 where nothing serves */
  const int32_t* replica_first;  /* [experts + 1]: the replicas of expert e are [replica_first[e],
                                    replica_first[e + 1]) */
  const int32_t* replica_slot;   /* slot of each replica, ascending per expert */
  const int32_t* replica_share_end; /* running sum of shares per expert; the last is 65536 */
  uint64_t version;                 /* commits of this layer so far */
} ballast_layer_tables;

/* Local. The routing tables of a layer. The addresses stay the same until ballast_destroy, the
 * contents change only inside ballast_step. From ballast_create on they say which expert each row
 * must hold. INVALID_ARGUMENT: layer out of range. */
BALLAST_API ballast_status ballast_tables(const ballast_context* context, int32_t layer,
                                          ballast_layer_tables* tables);

/* Local. The same tables where kernels read them: with the CUDA backend in device memory, at
 * addresses that stay the same until ballast_destroy; they change in the order of the context's
 * stream, between the passes before and after a ballast_step. With the host backend: ballast_tables.
 */
BALLAST_API ballast_status ballast_device_tables(const ballast_context* context, int32_t layer,
                                                 ballast_layer_tables* tables);

/* Local. How weights come to this rank from `rank` (BALLAST_TRANSPORT_*). STATE: before
 * ballast_start. */
BALLAST_API ballast_status ballast_transport(const ballast_context* context, int32_t rank,
                                             int32_t* transport);

/* Local. rows_per_rank = slots_per_rank + spare_rows; a slot of the tables lives on rank slot /
 * rows_per_rank. */
BALLAST_API ballast_status ballast_shape(const ballast_context* context, int32_t* layers,
                                         int32_t* experts, int32_t* ranks,
                                         int32_t* rows_per_rank); /* any output may be NULL */

/* Local. The hash that every live row holding `expert` must have. STATE: before ballast_start. */
BALLAST_API ballast_status ballast_expert_hash(const ballast_context* context, int32_t layer,
                                               int32_t expert, uint64_t* hash);

enum {
  BALLAST_OUTCOME_NONE = 0,
  BALLAST_OUTCOME_COMMITTED = 1, /* all batches */
  BALLAST_OUTCOME_UNCHANGED = 2, /* decided to do nothing */
  BALLAST_OUTCOME_DROPPED = 3,   /* before its last commit; the committed batches stay */
  BALLAST_OUTCOME_RECORDED = 4   /* planned in mode RECORD */
};

typedef struct ballast_epoch {
  size_t struct_size;
  int64_t epoch; /* from 0 */
  int64_t step_triggered;
  int64_t step_committed; /* of the last batch; -1 if none committed */
  int32_t outcome;
  int32_t layers_changed;
  int32_t batches;
  int32_t retries;                     /* schedules made anew after a bad checksum */
  int64_t moves;                       /* committed */
  int64_t bytes[BALLAST_LINK_CLASSES]; /* committed, all ranks */
  int64_t bytes_received;              /* by this rank, committed or not */
  int64_t window_tokens;               /* all layers and ranks; at most 2^63 - 1 */
  double balance_before;               /* of the window under the placement it met */
  double balance_planned;
  double balance_bound;
  double reduce_seconds, plan_seconds, exchange_seconds; /* this rank */
  double stall_seconds_max; /* the longest ballast_step of this rank while it was in flight */
  uint64_t digest;          /* of the plan; 0 if none was made */
  char reason[160];         /* one line, why it ended as it did */
  double seconds_saved_per_step; /* by the plan, from token_seconds; with the next two: of the moves
                                    that were planned, also if they did not pay */
  double transfer_seconds;       /* the longest that a rank would receive, by the topology's costs or
                                    as measured (ballast_record_time) */
  int64_t payback_steps;         /* until the moves have paid off; 0: none; -1: never, or not known */
  double transfer_seconds_by_link[BALLAST_LINK_CLASSES]; /* and over links of one class */
  double token_seconds;    /* that one more token on the fullest rank costs a step; 0: not known */
  int32_t token_measured;  /* nonzero: by ballast_record_time, zero: as stated in token_ns */
  int32_t payback_refused; /* nonzero: those moves do not pay within the horizon and are not made */
} ballast_epoch;

/* Local. The report of a past epoch, newest = index 0; the last 64 are kept. `epoch->struct_size`
 * must be set. STATE: there is none at that index. */
BALLAST_API ballast_status ballast_epoch_report(const ballast_context* context, int32_t index,
                                                ballast_epoch* epoch);

/* Local, the same on all ranks. The loads of the index-th past window that epochs predict from,
 * newest = index 0, reduced over the ranks, into `loads` [layers][experts], tokens. At most
 * memory_windows - 1 are kept. STATE: there is none at that index; before ballast_start. */
BALLAST_API ballast_status ballast_past_window(const ballast_context* context, int32_t index,
                                               int64_t* loads);

typedef struct ballast_counters {
  size_t struct_size;
  int64_t steps, epochs, epochs_committed, epochs_dropped, epochs_unchanged;
  int64_t triggers_missed; /* an epoch was still in flight */
  int64_t ids_out_of_range;
  int64_t plans_diverged;
  int64_t checksums_failed;
  int64_t slots_quarantined;
  int64_t steps_since_commit; /* -1 before the first */
  int32_t balancing;          /* 0 once two diverged plans in a row have switched it off */
  int32_t experts_damaged;    /* now, see ballast_damaged */
  int32_t past_windows;       /* kept now, see ballast_past_window */
  int32_t reserved;
} ballast_counters;

/* Local. `counters->struct_size` must be set. */
BALLAST_API ballast_status ballast_read_counters(const ballast_context* context,
                                                 ballast_counters* counters);

typedef struct ballast_damage {
  size_t struct_size;
  int32_t layer, expert, slot, rank; /* the row is slot % rows_per_rank of that rank */
  int64_t epoch;                     /* that found it */
} ballast_damage;

/* Local, the same on all ranks. The index-th expert whose only copy holds wrong bytes, in the order
 * they were found. Ballast noticed because it had to move that copy and its hash was wrong; no other
 * replica can replace it, so its slot goes on serving what it holds, and epochs that would move it
 * are dropped. The engine loads the weights into the row again, on `rank`, between two steps. The
 * entry goes once a move from the slot has been committed with its bytes verified, or when the slot
 * serves another expert. ballast_counters::experts_damaged says how many there are; the epoch that
 * finds one says so in its reason. `damage->struct_size` must be set. STATE: there is none at that
 * index; before ballast_start. */
BALLAST_API ballast_status ballast_damaged(const ballast_context* context, int32_t index,
                                           ballast_damage* damage);

/* ---- planning without a runtime ------------------------------------------------------ */

typedef struct ballast_plan ballast_plan;

typedef struct ballast_plan_request {
  size_t struct_size;
  int32_t layers, experts, ranks, slots_per_rank;
  const int64_t* loads; /* [layers][experts], tokens */
  const int32_t*
      placement; /* [layers][ranks * slots_per_rank], -1 empty; NULL: as for ballast_config */
  const int32_t* shares;            /* the same shape; NULL: equal */
  const ballast_topology* topology; /* NULL: all ranks on one node */
  const char* policy;               /* BALLAST_DEFAULT_POLICY */
  int32_t groups;                   /* 1 */
  int32_t compatible;               /* 0 */
  int64_t max_moves;                /* -1; per layer */
  int64_t max_bytes;                /* -1; per rank; needs expert_bytes */
  int64_t expert_bytes;             /* 0: not known */
  int32_t threads;                  /* 1 */
  int32_t objective;                /* BALLAST_OBJECTIVE_TOKENS */
  uint64_t seed; /* 1 */
  int64_t passes; /* 0; for BALLAST_OBJECTIVE_ACTIVATIONS: forward passes that the loads cover; 0:
                     the loads are not tokens but in how many passes an expert had any */
  const int64_t* series; /* NULL; else [windows][layers][experts], oldest first: the window after
                            them is planned for and `loads` is not looked at (may be NULL) */
  int32_t windows;       /* 0 */
  int32_t prediction;    /* BALLAST_PREDICTION_AUTO */
  int32_t decay_shift;   /* 1 */
  int32_t reserved_prediction; /* 0 */
  int64_t window_steps;  /* 1; steps that the loads, or a window, are the sum of */
  int64_t token_ns;      /* 0; as in ballast_config */
  int64_t horizon;       /* 0; as in ballast_config */
  const int32_t* rank_speed; /* NULL: all the same. Else [ranks], 1..65536: `flow` evens out load over
                                speed, and balance is of that */
  const uint8_t* masked_ranks; /* NULL: none. Else [ranks], nonzero: dead. The plan leaves such a rank
                                  empty, whatever the limits */
  int64_t max_moves_total;     /* -1; of all layers, spent where they buy most */
  int64_t max_bytes_per_link[BALLAST_LINK_CLASSES]; /* -1; received over links of a class, from the
                                                       nearest rank that has the expert */
  int32_t equal_shares; /* 0; nonzero: `flow` splits tokens equally over an expert's replicas */
  int32_t cold_start;   /* 0; nonzero: no weights are in place, moves cost nothing */
  const int32_t* slots_per_layer; /* NULL: slots_per_rank in every layer. Else [layers], each 1 to
                                     slots_per_rank: a rank's first so many slots are used */
} ballast_plan_request;
BALLAST_API void ballast_plan_request_init(ballast_plan_request* request);

/* Local, no MPI, blocks while it plans. INVALID_ARGUMENT names the field. `*plan` is the caller's,
 * for ballast_plan_destroy. */
BALLAST_API ballast_status ballast_plan_create(const ballast_plan_request* request,
                                               ballast_plan** plan);
BALLAST_API void ballast_plan_destroy(ballast_plan* plan); /* NULL is allowed */

typedef struct ballast_slots_summary {
  size_t struct_size;
  int64_t slots_fewest; /* of a rank, all layers together: as few as can host every expert */
  int64_t slots;        /* chosen */
  double balance_fewest, balance; /* that plans from nothing reach with these */
} ballast_slots_summary;

/* Local, no MPI, blocks while it plans every layer several times. From a memory budget to slots
 * where they help most. `slots_budget`: experts that a rank can hold, all layers together. Of the
 * request, slots, placement and limits are not looked at. What is chosen makes the fullest ranks of
 * all layers sum to the least that the policy reaches within the budget, and leaves unspent what
 * brings nothing. `slots_per_layer`: [layers]. `balance_fewest`, `balance`: NULL, or [layers] what
 * a plan from nothing reaches with the fewest slots and with those chosen. `summary->struct_size`
 * must be set. INVALID_ARGUMENT names the field, also where the budget is less than one replica of
 * every expert takes. */
BALLAST_API ballast_status ballast_slots_choose(const ballast_plan_request* request,
                                                int64_t slots_budget, int32_t* slots_per_layer,
                                                double* balance_fewest, double* balance,
                                                ballast_slots_summary* summary);

typedef struct ballast_plan_summary {
  size_t struct_size;
  uint64_t digest;
  double balance_before, balance_after, balance_bound, gap;
  int64_t moves; /* slots that receive an expert their rank does not hold */
  int64_t moves_by_link[BALLAST_LINK_CLASSES]; /* as the schedule routes them */
  int32_t layers_changed;
  int32_t batches;
  double plan_seconds; /* planning alone */
  double schedule_seconds;
  double seconds_saved_per_step; /* from token_ns */
  double transfer_seconds;       /* the longest that any rank receives */
  double transfer_seconds_by_link[BALLAST_LINK_CLASSES]; /* and over links of one class */
  int64_t payback_steps;  /* until the moves have paid off; 0: none; -1: never, or not known */
  int32_t payback_refused; /* nonzero: those moves do not pay within the horizon and are not made;
                              the four figures above are theirs */
  int32_t reserved;
} ballast_plan_summary;

/* Local. `summary->struct_size` must be set. */
BALLAST_API ballast_status ballast_plan_summarise(const ballast_plan* plan,
                                                  ballast_plan_summary* summary);

typedef struct ballast_plan_layer {
  size_t struct_size;
  double balance_before, balance_after, balance_bound;
  int64_t moves;
} ballast_plan_layer;
BALLAST_API ballast_status ballast_plan_layer_summary(const ballast_plan* plan, int32_t layer,
                                                      ballast_plan_layer* summary);

/* Local. Copies [layers][ranks * slots_per_rank] experts and shares into the caller's arrays;
 * either may be NULL. */
BALLAST_API ballast_status ballast_plan_placement(const ballast_plan* plan, int32_t* experts,
                                                  int32_t* shares);

/* Why a layer's plan is as it is. Loads are in tokens. */
typedef struct ballast_plan_explanation {
  size_t struct_size;
  int32_t layer;
  int32_t steps;       /* moves that only work together (a swap) are one step */
  int64_t moves;       /* slots whose expert changes, for ballast_plan_read_move */
  double mean;         /* rank load */
  double max_before;   /* of the fullest rank, as the placement is now */
  double max_reshared; /* without a move, shares made anew */
  double max_after;    /* as planned */
  double max_bound;    /* no plan of the policy has less */
} ballast_plan_explanation;

/* Local. Orders the moves of a layer: each next step is the one after which the fullest rank is
 * lightest. Takes time quadratic in the moves. The moves are kept in the plan until the next call.
 * `explanation->struct_size` must be set. INVALID_ARGUMENT: layer out of range. */
BALLAST_API ballast_status ballast_plan_explain(ballast_plan* plan, int32_t layer,
                                                ballast_plan_explanation* explanation);

typedef struct ballast_plan_move {
  size_t struct_size;
  int32_t step;      /* from 0; the loads below are the step's */
  int32_t expert;    /* -1: the slot is emptied, and from_slot, from_rank and link are -1 */
  int32_t displaced; /* the expert that had the slot, -1: none */
  int32_t from_slot, from_rank; /* where the schedule reads the expert first */
  int32_t to_slot, to_rank;
  int32_t link;             /* BALLAST_LINK_LOCAL ... */
  int32_t relieved_rank;    /* gets lighter most: of the fullest ranks if any of them does, else of
                               all; -1: none does */
  int32_t relieves_fullest; /* 1: it is one of the fullest */
  double max_before, max_after; /* of the fullest rank, shares made anew after every step */
  double relieved_before, relieved_after; /* load of relieved_rank */
} ballast_plan_move;

/* Local. A move of the layer explained last, in the order of its steps. `move->struct_size` must be
 * set. STATE: it has no such move. */
BALLAST_API ballast_status ballast_plan_read_move(const ballast_plan* plan, int64_t index,
                                                  ballast_plan_move* move);

#ifdef __cplusplus
}
#endif

#endif
