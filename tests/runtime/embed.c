/* An engine that embeds Ballast, small enough to copy: two layers of eight experts spread over the ranks, a router that likes some
 * experts better than others, and after every pass one call of ballast_step. Run it under mpirun; it checks itself. */
#include <ballast.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 2, EXPERTS = 8, WEIGHTS = 1000, TOKENS = 256, TOP_K = 2, STEPS = 300 };

static void check(ballast_status status) {
  if (status == BALLAST_OK) return;
  fprintf(stderr, "%s: %s\n", ballast_status_name(status), ballast_last_error());
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static float weight_of(int layer, int expert, int i) { return (float)(100 * layer + 10 * expert) + (float)i / 1024; }

/* The router of a model would do this: one expert is popular, and later another. */
static void choose_experts(int32_t* ids, int step) {
  for (int i = 0; i < TOKENS * TOP_K; ++i) ids[i] = rand() % 3 > 0 ? rand() % EXPERTS : step < STEPS / 2 ? 0 : 5;
}

static void print_newest_epoch(const ballast_context* context) {
  ballast_epoch epoch = {.struct_size = sizeof epoch};
  check(ballast_epoch_report(context, 0, &epoch));
  printf("epoch %2d  step %3d  %2d moves  balance %.3f -> %.3f  %s\n", (int)epoch.epoch, (int)epoch.step_triggered, (int)epoch.moves,
         epoch.balance_before, epoch.balance_planned, epoch.reason);
}

int main(int argc, char** argv) {
  int provided, rank, ranks;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  srand((unsigned)rank);

  ballast_config config;
  ballast_config_init(&config);
  config.layers = LAYERS;
  config.experts = EXPERTS;
  config.slots_per_rank = EXPERTS / ranks + 1; /* one more than needed: room for a second replica */
  config.interval = 25;
  ballast_context* context;
  check(ballast_create(&config, MPI_COMM_WORLD, &context));

  /* The tables say from the start which expert each row of this rank must hold. Ballast moves these bytes from now on. */
  const int rows = config.slots_per_rank;
  float* weights = calloc((size_t)LAYERS * rows * WEIGHTS, sizeof(float));
  ballast_layer_tables tables[LAYERS];
  for (int layer = 0; layer < LAYERS; ++layer) {
    tables[layer].struct_size = sizeof tables[layer];
    check(ballast_tables(context, layer, &tables[layer]));
    float* base = weights + (size_t)layer * rows * WEIGHTS;
    for (int row = 0; row < rows; ++row) {
      const int expert = tables[layer].expert_of_slot[rank * rows + row];
      for (int i = 0; expert >= 0 && i < WEIGHTS; ++i) base[row * WEIGHTS + i] = weight_of(layer, expert, i);
    }
    const ballast_tensor tensor = {base, WEIGHTS * sizeof(float), WEIGHTS * sizeof(float)};
    check(ballast_register_layer(context, layer, &tensor, 1));
  }
  check(ballast_start(context));

  int32_t chosen[TOKENS * TOP_K], slots[TOKENS * TOP_K];
  ballast_ids ids;
  ballast_ids_init(&ids);
  ids.ids = chosen;
  ids.columns = TOP_K;
  ids.tokens = ids.valid_tokens = TOKENS;
  int wrong = 0;
  for (int step = 0; step < STEPS; ++step) {
    for (int layer = 0; layer < LAYERS; ++layer) {
      choose_experts(chosen, step);
      check(ballast_record_route(context, layer, &ids, BALLAST_ROUTE_SHARES, slots));
      /* Here the model sends token i / TOP_K to rank slots[i] / rows, row slots[i] % rows, and computes. */
      for (int i = 0; i < TOKENS * TOP_K; ++i) wrong += tables[layer].expert_of_slot[slots[i]] != chosen[i];
    }
    ballast_step_result result = {.struct_size = sizeof result};
    check(ballast_step(context, &result)); /* may change what the tables point to */
    if (result.epoch_closed && rank == 0) print_newest_epoch(context);
  }

  for (int slot = 0; slot < LAYERS * rows; ++slot) {
    const int expert = tables[slot / rows].expert_of_slot[rank * rows + slot % rows];
    for (int i = 0; expert >= 0 && i < WEIGHTS; ++i) wrong += weights[slot * WEIGHTS + i] != weight_of(slot / rows, expert, i);
  }
  ballast_counters counters = {.struct_size = sizeof counters};
  check(ballast_read_counters(context, &counters));
  check(ballast_destroy(context)); /* before the weights: it may still be moving them */
  free(weights);
  MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) printf("%d of %d epochs committed, %d wrong\n", (int)counters.epochs_committed, (int)counters.epochs, wrong);
  MPI_Finalize();
  return wrong > 0 || (ranks > 1 && counters.epochs_committed == 0);
}
