#!/usr/bin/env python3
"""What PyTorch takes for the jobs of record and route, timed as kernel_bench times ours.

bincount reads its result's size back, so no graph can hold it: it is called eagerly. scatter_add and
index_select with given outputs are what a graph can hold; index_select does less than route, one
table look-up without replicas.
"""
import statistics

import torch

TOKENS, COLUMNS, EXPERTS, REPLAYS, WARM_UPS = 8192, 8, 256, 21, 3


def time_us(launches, launch, graph=True):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        launch(0)
        stream.synchronize()
        if graph:
            captured = torch.cuda.CUDAGraph()
            with torch.cuda.graph(captured, stream=stream):
                for i in range(launches):
                    launch(i)
        times = []
        for _ in range(WARM_UPS + REPLAYS):
            begin.record(stream)
            if graph:
                captured.replay()
            else:
                for i in range(launches):
                    launch(i)
            end.record(stream)
            stream.synchronize()
            times.append(begin.elapsed_time(end) * 1e3 / launches)
    times = times[WARM_UPS:]
    return min(times), statistics.median(times), max(times)


def row(name, us):
    print(f"{name:<47} {us[0]:9.2f} {us[1]:9.2f} {us[2]:9.2f}", flush=True)


def main():
    print(f"# PyTorch {torch.__version__}, {torch.cuda.get_device_name()}")
    print(f"{'# job':<47} {'us min':>9} {'us':>9} {'us max':>9}")
    n = TOKENS * COLUMNS
    torch.manual_seed(1)
    for dtype, name in ((torch.int32, "int32"), (torch.int64, "int64")):
        sets = (256 << 20) // (2 * n * dtype.itemsize)
        ids = torch.randint(EXPERTS, (n,), dtype=dtype, device="cuda")
        cold = [ids.clone() for _ in range(sets)]
        slots = [torch.empty_like(ids) for _ in range(sets)]
        table = torch.arange(EXPERTS, dtype=dtype, device="cuda")
        row(f"torch.bincount {name} eager", time_us(20, lambda i: torch.bincount(ids, minlength=EXPERTS), graph=False))
        if dtype == torch.int64:
            counts = torch.zeros(EXPERTS, dtype=torch.int64, device="cuda")
            ones = torch.ones_like(ids)
            row(f"scatter_add {name} warm", time_us(sets, lambda i: counts.scatter_add_(0, ids, ones)))
            row(f"scatter_add {name} cold", time_us(sets, lambda i: counts.scatter_add_(0, cold[i], ones)))
        gather = lambda source, target: torch.index_select(table, 0, source, out=target)
        row(f"index_select {name} warm", time_us(sets, lambda i: gather(ids, slots[0])))
        row(f"index_select {name} cold", time_us(sets, lambda i: gather(cold[i], slots[i])))
        if dtype == torch.int64:
            take = lambda source, target: torch.take(table, source, out=target)
            row(f"take {name} warm", time_us(sets, lambda i: take(ids, slots[0])))
            row(f"take {name} cold", time_us(sets, lambda i: take(cold[i], slots[i])))


main()
