/* The binary interface, frozen: sizes, offsets and values as programs built against earlier releases have them. Fields may only be
 * appended, which changes the size of a struct and nothing else here. Compiling this file is the test. LP64 only. */
#include <ballast.h>

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "the size of " #type " has changed")
#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field " has moved")
#define VALUE(name, value) _Static_assert((name) == (value), #name " has another value")

SIZE(ballast_rank_place, 232);
AT(ballast_rank_place, struct_size, 0);
AT(ballast_rank_place, node, 8);
AT(ballast_rank_place, island, 12);
AT(ballast_rank_place, local_rank, 16);
AT(ballast_rank_place, package, 20);
AT(ballast_rank_place, numa, 24);
AT(ballast_rank_place, gpu, 28);
AT(ballast_rank_place, nic, 32);
AT(ballast_rank_place, host, 36);
AT(ballast_rank_place, gpu_bus_id, 100);
AT(ballast_rank_place, gpu_model, 132);
AT(ballast_rank_place, nic_name, 196);

SIZE(ballast_config, 336);
AT(ballast_config, struct_size, 0);
AT(ballast_config, layers, 8);
AT(ballast_config, experts, 12);
AT(ballast_config, slots_per_rank, 16);
AT(ballast_config, spare_rows, 20);
AT(ballast_config, groups, 24);
AT(ballast_config, compatible, 28);
AT(ballast_config, policy, 32);
AT(ballast_config, mode, 40);
AT(ballast_config, way, 44);
AT(ballast_config, verify, 48);
AT(ballast_config, consensus_lag, 52);
AT(ballast_config, interval, 56);
AT(ballast_config, window, 64);
AT(ballast_config, balance_min_permille, 72);
AT(ballast_config, gain_min_permille, 76);
AT(ballast_config, max_moves, 80);
AT(ballast_config, max_bytes, 88);
AT(ballast_config, staging_experts, 96);
AT(ballast_config, receives_per_batch, 100);
AT(ballast_config, bytes_per_step, 104);
AT(ballast_config, planner_threads, 112);
AT(ballast_config, objective, 116);
AT(ballast_config, seed, 120);
AT(ballast_config, deadline_seconds, 128);
AT(ballast_config, placement, 136);
AT(ballast_config, shares, 144);
AT(ballast_config, topology, 152);
AT(ballast_config, log, 160);
AT(ballast_config, log_user, 168);
AT(ballast_config, drill, 176);
AT(ballast_config, backend, 184);
AT(ballast_config, transport, 188);
AT(ballast_config, device, 192);
AT(ballast_config, nccl_ctas, 196);
AT(ballast_config, hash_ctas, 200);
AT(ballast_config, reserved_cuda, 204);
AT(ballast_config, stream, 208);
AT(ballast_config, prediction, 216);
AT(ballast_config, memory_windows, 220);
AT(ballast_config, decay_shift, 224);
AT(ballast_config, reserved_prediction, 228);
AT(ballast_config, token_ns, 232);
AT(ballast_config, horizon, 240);
AT(ballast_config, max_moves_total, 248);
AT(ballast_config, max_bytes_per_link, 256);
AT(ballast_config, equal_shares, 288);
AT(ballast_config, past_window_count, 292);
AT(ballast_config, past_windows, 296);
AT(ballast_config, moves_saved, 304);
AT(ballast_config, reserved_saved, 308);
AT(ballast_config, slots_per_layer, 312);
AT(ballast_config, rank_speed, 320);
AT(ballast_config, masked_ranks, 328);

SIZE(ballast_tensor, 24);
AT(ballast_tensor, base, 0);
AT(ballast_tensor, row_bytes, 8);
AT(ballast_tensor, row_stride, 16);

SIZE(ballast_ids, 64);
AT(ballast_ids, struct_size, 0);
AT(ballast_ids, ids, 8);
AT(ballast_ids, type, 16);
AT(ballast_ids, columns, 20);
AT(ballast_ids, tokens, 24);
AT(ballast_ids, valid_tokens, 32);
AT(ballast_ids, shared_columns, 40);
AT(ballast_ids, reserved, 44);
AT(ballast_ids, stream, 48);
AT(ballast_ids, valid_tokens_at, 56);

SIZE(ballast_step_result, 32);
AT(ballast_step_result, struct_size, 0);
AT(ballast_step_result, step, 8);
AT(ballast_step_result, phase, 16);
AT(ballast_step_result, tables_changed, 20);
AT(ballast_step_result, epoch_closed, 24);
AT(ballast_step_result, reserved, 28);

SIZE(ballast_layer_tables, 48);
AT(ballast_layer_tables, struct_size, 0);
AT(ballast_layer_tables, expert_of_slot, 8);
AT(ballast_layer_tables, replica_first, 16);
AT(ballast_layer_tables, replica_slot, 24);
AT(ballast_layer_tables, replica_share_end, 32);
AT(ballast_layer_tables, version, 40);

SIZE(ballast_epoch, 400);
AT(ballast_epoch, struct_size, 0);
AT(ballast_epoch, epoch, 8);
AT(ballast_epoch, step_triggered, 16);
AT(ballast_epoch, step_committed, 24);
AT(ballast_epoch, outcome, 32);
AT(ballast_epoch, layers_changed, 36);
AT(ballast_epoch, batches, 40);
AT(ballast_epoch, retries, 44);
AT(ballast_epoch, moves, 48);
AT(ballast_epoch, bytes, 56);
AT(ballast_epoch, bytes_received, 88);
AT(ballast_epoch, window_tokens, 96);
AT(ballast_epoch, balance_before, 104);
AT(ballast_epoch, balance_planned, 112);
AT(ballast_epoch, balance_bound, 120);
AT(ballast_epoch, reduce_seconds, 128);
AT(ballast_epoch, plan_seconds, 136);
AT(ballast_epoch, exchange_seconds, 144);
AT(ballast_epoch, stall_seconds_max, 152);
AT(ballast_epoch, digest, 160);
AT(ballast_epoch, reason, 168);
AT(ballast_epoch, seconds_saved_per_step, 328);
AT(ballast_epoch, transfer_seconds, 336);
AT(ballast_epoch, payback_steps, 344);
AT(ballast_epoch, transfer_seconds_by_link, 352);
AT(ballast_epoch, token_seconds, 384);
AT(ballast_epoch, token_measured, 392);
AT(ballast_epoch, payback_refused, 396);

SIZE(ballast_counters, 112);
AT(ballast_counters, struct_size, 0);
AT(ballast_counters, steps, 8);
AT(ballast_counters, epochs, 16);
AT(ballast_counters, epochs_committed, 24);
AT(ballast_counters, epochs_dropped, 32);
AT(ballast_counters, epochs_unchanged, 40);
AT(ballast_counters, triggers_missed, 48);
AT(ballast_counters, ids_out_of_range, 56);
AT(ballast_counters, plans_diverged, 64);
AT(ballast_counters, checksums_failed, 72);
AT(ballast_counters, slots_quarantined, 80);
AT(ballast_counters, steps_since_commit, 88);
AT(ballast_counters, balancing, 96);
AT(ballast_counters, experts_damaged, 100);
AT(ballast_counters, past_windows, 104);
AT(ballast_counters, reserved, 108);

SIZE(ballast_damage, 32);
AT(ballast_damage, struct_size, 0);
AT(ballast_damage, layer, 8);
AT(ballast_damage, expert, 12);
AT(ballast_damage, slot, 16);
AT(ballast_damage, rank, 20);
AT(ballast_damage, epoch, 24);

SIZE(ballast_loss, 24);
AT(ballast_loss, struct_size, 0);
AT(ballast_loss, layer, 8);
AT(ballast_loss, expert, 12);
AT(ballast_loss, slot, 16);
AT(ballast_loss, rank, 20);

SIZE(ballast_policy_question, 144);
AT(ballast_policy_question, struct_size, 0);
AT(ballast_policy_question, first_layer, 8);
AT(ballast_policy_question, layers, 12);
AT(ballast_policy_question, experts, 16);
AT(ballast_policy_question, ranks, 20);
AT(ballast_policy_question, slots, 24);
AT(ballast_policy_question, windows, 28);
AT(ballast_policy_question, loads, 32);
AT(ballast_policy_question, series, 40);
AT(ballast_policy_question, slot_first, 48);
AT(ballast_policy_question, usable_slots, 56);
AT(ballast_policy_question, node_of_rank, 64);
AT(ballast_policy_question, island_of_rank, 72);
AT(ballast_policy_question, experts_now, 80);
AT(ballast_policy_question, shares_now, 88);
AT(ballast_policy_question, max_moves, 96);
AT(ballast_policy_question, max_bytes, 104);
AT(ballast_policy_question, expert_bytes, 112);
AT(ballast_policy_question, groups, 120);
AT(ballast_policy_question, reserved, 124);
AT(ballast_policy_question, seed, 128);
AT(ballast_policy_question, slots_per_layer, 136);

SIZE(ballast_policy, 40);
AT(ballast_policy, struct_size, 0);
AT(ballast_policy, name, 8);
AT(ballast_policy, plan_layer, 16);
AT(ballast_policy, plan_request, 24);
AT(ballast_policy, user, 32);

SIZE(ballast_plan_request, 240);
AT(ballast_plan_request, struct_size, 0);
AT(ballast_plan_request, layers, 8);
AT(ballast_plan_request, experts, 12);
AT(ballast_plan_request, ranks, 16);
AT(ballast_plan_request, slots_per_rank, 20);
AT(ballast_plan_request, loads, 24);
AT(ballast_plan_request, placement, 32);
AT(ballast_plan_request, shares, 40);
AT(ballast_plan_request, topology, 48);
AT(ballast_plan_request, policy, 56);
AT(ballast_plan_request, groups, 64);
AT(ballast_plan_request, compatible, 68);
AT(ballast_plan_request, max_moves, 72);
AT(ballast_plan_request, max_bytes, 80);
AT(ballast_plan_request, expert_bytes, 88);
AT(ballast_plan_request, threads, 96);
AT(ballast_plan_request, objective, 100);
AT(ballast_plan_request, seed, 104);
AT(ballast_plan_request, passes, 112);
AT(ballast_plan_request, series, 120);
AT(ballast_plan_request, windows, 128);
AT(ballast_plan_request, prediction, 132);
AT(ballast_plan_request, decay_shift, 136);
AT(ballast_plan_request, reserved_prediction, 140);
AT(ballast_plan_request, window_steps, 144);
AT(ballast_plan_request, token_ns, 152);
AT(ballast_plan_request, horizon, 160);
AT(ballast_plan_request, rank_speed, 168);
AT(ballast_plan_request, masked_ranks, 176);
AT(ballast_plan_request, max_moves_total, 184);
AT(ballast_plan_request, max_bytes_per_link, 192);
AT(ballast_plan_request, equal_shares, 224);
AT(ballast_plan_request, cold_start, 228);
AT(ballast_plan_request, slots_per_layer, 232);

SIZE(ballast_slots_summary, 40);
AT(ballast_slots_summary, struct_size, 0);
AT(ballast_slots_summary, slots_fewest, 8);
AT(ballast_slots_summary, slots, 16);
AT(ballast_slots_summary, balance_fewest, 24);
AT(ballast_slots_summary, balance, 32);

SIZE(ballast_plan_summary, 176);
AT(ballast_plan_summary, struct_size, 0);
AT(ballast_plan_summary, digest, 8);
AT(ballast_plan_summary, balance_before, 16);
AT(ballast_plan_summary, balance_after, 24);
AT(ballast_plan_summary, balance_bound, 32);
AT(ballast_plan_summary, gap, 40);
AT(ballast_plan_summary, moves, 48);
AT(ballast_plan_summary, moves_by_link, 56);
AT(ballast_plan_summary, layers_changed, 88);
AT(ballast_plan_summary, batches, 92);
AT(ballast_plan_summary, plan_seconds, 96);
AT(ballast_plan_summary, schedule_seconds, 104);
AT(ballast_plan_summary, seconds_saved_per_step, 112);
AT(ballast_plan_summary, transfer_seconds, 120);
AT(ballast_plan_summary, transfer_seconds_by_link, 128);
AT(ballast_plan_summary, payback_steps, 160);
AT(ballast_plan_summary, payback_refused, 168);
AT(ballast_plan_summary, reserved, 172);

SIZE(ballast_plan_layer, 40);
AT(ballast_plan_layer, struct_size, 0);
AT(ballast_plan_layer, balance_before, 8);
AT(ballast_plan_layer, balance_after, 16);
AT(ballast_plan_layer, balance_bound, 24);
AT(ballast_plan_layer, moves, 32);

SIZE(ballast_plan_explanation, 64);
AT(ballast_plan_explanation, struct_size, 0);
AT(ballast_plan_explanation, layer, 8);
AT(ballast_plan_explanation, steps, 12);
AT(ballast_plan_explanation, moves, 16);
AT(ballast_plan_explanation, mean, 24);
AT(ballast_plan_explanation, max_before, 32);
AT(ballast_plan_explanation, max_reshared, 40);
AT(ballast_plan_explanation, max_after, 48);
AT(ballast_plan_explanation, max_bound, 56);

SIZE(ballast_plan_move, 80);
AT(ballast_plan_move, struct_size, 0);
AT(ballast_plan_move, step, 8);
AT(ballast_plan_move, expert, 12);
AT(ballast_plan_move, displaced, 16);
AT(ballast_plan_move, from_slot, 20);
AT(ballast_plan_move, from_rank, 24);
AT(ballast_plan_move, to_slot, 28);
AT(ballast_plan_move, to_rank, 32);
AT(ballast_plan_move, link, 36);
AT(ballast_plan_move, relieved_rank, 40);
AT(ballast_plan_move, relieves_fullest, 44);
AT(ballast_plan_move, max_before, 48);
AT(ballast_plan_move, max_after, 56);
AT(ballast_plan_move, relieved_before, 64);
AT(ballast_plan_move, relieved_after, 72);

VALUE(BALLAST_OK, 0);
VALUE(BALLAST_ERROR_INVALID_ARGUMENT, -1);
VALUE(BALLAST_ERROR_CONFIG_MISMATCH, -2);
VALUE(BALLAST_ERROR_STATE, -3);
VALUE(BALLAST_ERROR_MPI, -4);
VALUE(BALLAST_ERROR_DEADLINE, -5);
VALUE(BALLAST_ERROR_MEMORY, -6);
VALUE(BALLAST_ERROR_SYSTEM, -7);
VALUE(BALLAST_ERROR_INTERNAL, -8);

VALUE(BALLAST_LINK_LOCAL, 0);
VALUE(BALLAST_LINK_ISLAND, 1);
VALUE(BALLAST_LINK_NODE, 2);
VALUE(BALLAST_LINK_REMOTE, 3);
VALUE(BALLAST_LINK_CLASSES, 4);

VALUE(BALLAST_MODE_DYNAMIC, 0);
VALUE(BALLAST_MODE_RECORD, 1);
VALUE(BALLAST_MODE_STATIC, 2);

VALUE(BALLAST_WAY_AUTO, 0);
VALUE(BALLAST_WAY_VACATE, 1);
VALUE(BALLAST_WAY_SPARE, 2);
VALUE(BALLAST_WAY_STAGED, 3);

VALUE(BALLAST_VERIFY_FULL, 0);
VALUE(BALLAST_VERIFY_SAMPLE, 1);
VALUE(BALLAST_VERIFY_OFF, 2);

VALUE(BALLAST_LOG_ERROR, 0);
VALUE(BALLAST_LOG_WARNING, 1);
VALUE(BALLAST_LOG_INFO, 2);
VALUE(BALLAST_LOG_DEBUG, 3);

VALUE(BALLAST_PREDICTION_AUTO, 0);
VALUE(BALLAST_PREDICTION_SUM, 1);
VALUE(BALLAST_PREDICTION_DECAY, 2);
VALUE(BALLAST_PREDICTION_ROBUST, 3);

VALUE(BALLAST_IDS_INT32, 0);
VALUE(BALLAST_IDS_INT64, 1);

VALUE(BALLAST_ROUTE_SHARES, 0);
VALUE(BALLAST_ROUTE_LOCAL, 1);
VALUE(BALLAST_ROUTE_ROUND_ROBIN, 2);
VALUE(BALLAST_ROUTE_UNIFORM, 3);
VALUE(BALLAST_ROUTE_RANK_INVARIANT, 4);

VALUE(BALLAST_PHASE_IDLE, 0);
VALUE(BALLAST_PHASE_REDUCE, 1);
VALUE(BALLAST_PHASE_PLAN, 2);
VALUE(BALLAST_PHASE_EXCHANGE, 3);
VALUE(BALLAST_PHASE_DRAIN, 4);

VALUE(BALLAST_DROP, 0);
VALUE(BALLAST_FINISH, 1);

VALUE(BALLAST_OUTCOME_NONE, 0);
VALUE(BALLAST_OUTCOME_COMMITTED, 1);
VALUE(BALLAST_OUTCOME_UNCHANGED, 2);
VALUE(BALLAST_OUTCOME_DROPPED, 3);
VALUE(BALLAST_OUTCOME_RECORDED, 4);

VALUE(BALLAST_RANK_SERVES, 0);
VALUE(BALLAST_RANK_GONE, 1);
VALUE(BALLAST_RANK_DRAINING, 2);
VALUE(BALLAST_OBJECTIVE_TOKENS, 0);
VALUE(BALLAST_OBJECTIVE_ACTIVATIONS, 1);

VALUE(BALLAST_POLICY_DONE, 0);
VALUE(BALLAST_POLICY_EQUAL_SHARES, 1);
VALUE(BALLAST_POLICY_FAILED, -1);
