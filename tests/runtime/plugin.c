/* A policy of one's own through the C interface, and policies that misbehave: whatever they do, the epoch is dropped on all
 * ranks, every weight stays where it is, and the next epoch can be planned. Run it under mpirun with 2 ranks or more; it checks itself. */
#include <ballast.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, EXPERTS = 8, WEIGHTS = 64, INTERVAL = 8 };

static int failures = 0;
static int this_rank = 0;

#define EXPECT(condition) expect(condition, #condition, __LINE__)
static void expect(int condition, const char* text, int line) {
  if (condition) return;
  ++failures;
  fprintf(stderr, "rank %d: line %d: not so: %s (%s)\n", this_rank, line, text, ballast_last_error());
}

/* The fault that the policy `faulty` commits; on rank 0 alone or on all ranks. */
enum { NONE, LOSE_EXPERT, TWICE, OUT_OF_RANGE, WRONG_SHARES, UNUSABLE, REFUSE, FAULTS };
static struct {
  int fault, only_rank_0;
} orders;

static int count_of(const ballast_policy_question* q, const int32_t* experts, int expert) {
  int count = 0;
  for (int slot = 0; slot < q->slots; ++slot) count += experts[slot] == expert;
  return count;
}

static int holds(const ballast_policy_question* q, const int32_t* experts, int rank, int expert) {
  for (int slot = q->slot_first[rank]; slot < q->slot_first[rank + 1]; ++slot) {
    if (experts[slot] == expert) return 1;
  }
  return 0;
}

/* The first two experts of ranks 0 and 1 that the other does not hold change places. */
static void swap_two(const ballast_policy_question* q, int32_t* experts) {
  for (int mine = 0; mine < q->slot_first[1]; ++mine) {
    for (int theirs = q->slot_first[1]; theirs < q->slot_first[2]; ++theirs) {
      const int32_t first = experts[mine], second = experts[theirs];
      if (first < 0 || second < 0 || holds(q, experts, 1, first) || holds(q, experts, 0, second)) continue;
      experts[mine] = second;
      experts[theirs] = first;
      return;
    }
  }
}

/* Gives the slot of the coldest replicated expert, or an empty one, to the hottest expert that is not on its rank. */
static int32_t hottest_gets_one_more(void* user, const ballast_policy_question* q, int32_t* experts, int32_t* shares) {
  (void)shares;
  ++*(int*)user;
  if (q->struct_size != sizeof *q || q->layers != 1 || q->experts != EXPERTS) return BALLAST_POLICY_FAILED;
  int hot = 0;
  for (int e = 1; e < EXPERTS; ++e) hot = q->loads[e] > q->loads[hot] ? e : hot;
  int best = -1;
  for (int rank = 0; rank < q->ranks; ++rank) {
    const int held = holds(q, experts, rank, hot);
    for (int slot = q->slot_first[rank]; !held && slot < q->slot_first[rank] + q->usable_slots[rank]; ++slot) {
      const int e = experts[slot];
      if (e >= 0 && count_of(q, experts, e) < 2) continue;
      if (best < 0 || (e >= 0 && experts[best] >= 0 && q->loads[e] < q->loads[experts[best]])) best = slot;
    }
  }
  if (best >= 0) experts[best] = hot;
  return BALLAST_POLICY_EQUAL_SHARES;
}

/* Plans all layers at once: swaps two experts of each, then does what it was ordered to. */
static int32_t faulty(void* user, const ballast_policy_question* q, int32_t* experts, int32_t* shares) {
  (void)user;
  if (q->layers != LAYERS || q->first_layer != 0 || q->ranks < 2) return BALLAST_POLICY_FAILED;
  const int fault = orders.only_rank_0 && this_rank != 0 ? NONE : orders.fault;
  int32_t* last = experts + (LAYERS - 1) * q->slots; /* of the last layer */
  for (int layer = 0; layer < LAYERS; ++layer) swap_two(q, experts + layer * q->slots);
  const int32_t victim = last[0];
  switch (fault) {
    case LOSE_EXPERT:
      for (int slot = 0; slot < q->slots; ++slot) last[slot] = last[slot] == victim ? -1 : last[slot];
      break;
    case TWICE:
      last[q->slot_first[1] - 1] = victim;
      break;
    case OUT_OF_RANGE:
      last[0] = EXPERTS + 1000000;
      break;
    case WRONG_SHARES:
      shares[0] -= 1;
      return BALLAST_POLICY_DONE;
    case UNUSABLE: /* the spare row is not for planning */
      for (int slot = 0, expert = 0; slot < q->slot_first[1]; ++slot) {
        while (last[slot] < 0 && holds(q, last, 0, expert)) ++expert;
        if (last[slot] < 0) last[slot] = expert;
      }
      break;
    case REFUSE:
      return 77;
  }
  return BALLAST_POLICY_EQUAL_SHARES;
}

static float weight_of(int layer, int expert, int i) { return (float)(100 * layer + 10 * expert) + (float)i / 64; }

static void no_log(void* user, int32_t level, const char* text) {
  (void)user, (void)level, (void)text;
}

struct engine {
  ballast_context* context;
  ballast_layer_tables tables[LAYERS];
  float* weights;
  int rows;
};

static struct engine start_engine(const char* policy) {
  int ranks;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  ballast_config config;
  ballast_config_init(&config);
  config.layers = LAYERS;
  config.experts = EXPERTS;
  config.slots_per_rank = EXPERTS / ranks + 1;
  config.spare_rows = 1;
  config.interval = INTERVAL;
  config.gain_min_permille = 0;
  config.policy = policy;
  config.log = no_log; /* the planner's complaints are expected */
  struct engine e = {.rows = config.slots_per_rank + config.spare_rows};
  EXPECT(ballast_create(&config, MPI_COMM_WORLD, &e.context) == BALLAST_OK);
  e.weights = calloc((size_t)LAYERS * e.rows * WEIGHTS, sizeof(float));
  for (int layer = 0; layer < LAYERS; ++layer) {
    e.tables[layer].struct_size = sizeof e.tables[layer];
    EXPECT(ballast_tables(e.context, layer, &e.tables[layer]) == BALLAST_OK);
    float* base = e.weights + (size_t)layer * e.rows * WEIGHTS;
    for (int row = 0; row < e.rows; ++row) {
      const int expert = e.tables[layer].expert_of_slot[this_rank * e.rows + row];
      for (int i = 0; expert >= 0 && i < WEIGHTS; ++i) base[row * WEIGHTS + i] = weight_of(layer, expert, i);
    }
    const ballast_tensor tensor = {base, WEIGHTS * sizeof(float), WEIGHTS * sizeof(float)};
    EXPECT(ballast_register_layer(e.context, layer, &tensor, 1) == BALLAST_OK);
  }
  EXPECT(ballast_start(e.context) == BALLAST_OK);
  return e;
}

/* Until an epoch closes. `hot`: the load of expert 3 while the others have 5. */
static ballast_epoch run_epoch(struct engine* e, int64_t hot) {
  const int64_t counts[EXPERTS] = {5, 5, 5, hot, 5, 5, 5, 5};
  ballast_epoch epoch = {.struct_size = sizeof epoch};
  for (int step = 0; step < 100000; ++step) {
    for (int layer = 0; layer < LAYERS; ++layer) EXPECT(ballast_record_counts(e->context, layer, counts) == BALLAST_OK);
    ballast_step_result result = {.struct_size = sizeof result};
    EXPECT(ballast_step(e->context, &result) == BALLAST_OK);
    if (!result.epoch_closed) continue;
    EXPECT(ballast_epoch_report(e->context, 0, &epoch) == BALLAST_OK);
    break;
  }
  for (int layer = 0; layer < LAYERS; ++layer) {
    const ballast_layer_tables* t = &e->tables[layer];
    for (int row = 0; row < e->rows; ++row) {
      const int expert = t->expert_of_slot[this_rank * e->rows + row];
      for (int i = 0; expert >= 0 && i < WEIGHTS; ++i) {
        EXPECT(e->weights[(layer * e->rows + row) * WEIGHTS + i] == weight_of(layer, expert, i));
      }
    }
    for (int expert = 0; expert < EXPERTS; ++expert) EXPECT(t->replica_first[expert + 1] > t->replica_first[expert]);
  }
  return epoch;
}

static void stop_engine(struct engine* e) {
  EXPECT(ballast_destroy(e->context) == BALLAST_OK);
  free(e->weights);
}

static void test_registration(int* calls) {
  ballast_policy policy = {.struct_size = sizeof policy, .name = "hottest", .user = calls};
  EXPECT(ballast_policy_register(&policy) == BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT(strstr(ballast_last_error(), "none of plan_layer and plan_request") != NULL);
  policy.plan_layer = hottest_gets_one_more;
  policy.plan_request = faulty;
  EXPECT(ballast_policy_register(&policy) == BALLAST_ERROR_INVALID_ARGUMENT);
  policy.plan_request = NULL;
  const char* bad_names[] = {"", "Upper", "two words", "flow", "0123456789012345678901234567890123456789012345678901234567890123"};
  for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; ++i) {
    policy.name = bad_names[i];
    EXPECT(ballast_policy_register(&policy) == BALLAST_ERROR_INVALID_ARGUMENT);
  }
  policy.name = "hottest";
  EXPECT(ballast_policy_register(&policy) == BALLAST_OK);
  EXPECT(ballast_policy_register(&policy) == BALLAST_ERROR_INVALID_ARGUMENT);
  policy.name = "faulty";
  policy.plan_layer = NULL;
  policy.plan_request = faulty;
  EXPECT(ballast_policy_register(&policy) == BALLAST_OK);
  int found = 0;
  for (int i = 0; ballast_policy_name(i) != NULL; ++i) {
    found += strcmp(ballast_policy_name(i), "hottest") == 0 || strcmp(ballast_policy_name(i), "faulty") == 0;
  }
  EXPECT(found == 2);
}

static void test_plans_offline(const int* calls) {
  const int64_t loads[LAYERS * EXPERTS] = {5, 4, 3, 100, 4, 5, 6, 7, 90, 1, 1, 1, 1, 1, 1, 1};
  ballast_plan_request request;
  ballast_plan_request_init(&request);
  request.layers = LAYERS;
  request.experts = EXPERTS;
  request.ranks = 4;
  request.slots_per_rank = 3;
  request.loads = loads;
  request.policy = "hottest";
  ballast_plan* plan = NULL;
  const int before = *calls;
  EXPECT(ballast_plan_create(&request, &plan) == BALLAST_OK);
  EXPECT(*calls == before + LAYERS);
  ballast_plan_summary summary = {.struct_size = sizeof summary};
  EXPECT(ballast_plan_summarise(plan, &summary) == BALLAST_OK);
  EXPECT(summary.moves > 0 && summary.balance_after > summary.balance_before);
  ballast_plan_destroy(plan);

  request.expert_bytes = 10;
  request.max_bytes = 9;
  EXPECT(ballast_plan_create(&request, &plan) == BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT(strstr(ballast_last_error(), "policy hottest: rank ") != NULL);
  request.max_bytes = -1;
  request.max_moves = 0;
  EXPECT(ballast_plan_create(&request, &plan) == BALLAST_ERROR_INVALID_ARGUMENT);
  EXPECT(strcmp(ballast_last_error(), "policy hottest: layer 0: 1 moves, allowed are 0") == 0);
}

static void test_misbehaviour(void) {
  struct engine e = start_engine("faulty");
  for (orders.only_rank_0 = 0; orders.only_rank_0 < 2; ++orders.only_rank_0) {
    for (orders.fault = LOSE_EXPERT; orders.fault < FAULTS; ++orders.fault) {
      const ballast_epoch epoch = run_epoch(&e, 100);
      EXPECT(epoch.outcome == BALLAST_OUTCOME_DROPPED && epoch.moves == 0);
      EXPECT(strstr(epoch.reason, "the planner failed") != NULL);
    }
  }
  orders.fault = NONE;
  const ballast_epoch epoch = run_epoch(&e, 5); /* any swap is as good as none, and not refused */
  EXPECT(epoch.outcome == BALLAST_OUTCOME_COMMITTED && epoch.moves == 2 * LAYERS);
  stop_engine(&e);
}

int main(int argc, char** argv) {
  int provided;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &this_rank);
  static int calls = 0;
  test_registration(&calls);
  test_plans_offline(&calls);

  struct engine e = start_engine("hottest");
  const int before = calls;
  const ballast_epoch epoch = run_epoch(&e, 100);
  EXPECT(calls == before + LAYERS);
  EXPECT(epoch.outcome == BALLAST_OUTCOME_COMMITTED && epoch.balance_planned > epoch.balance_before);
  stop_engine(&e);
  test_misbehaviour();

  MPI_Allreduce(MPI_IN_PLACE, &failures, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (this_rank == 0) printf("%d failures\n", failures);
  MPI_Finalize();
  return failures > 0;
}
