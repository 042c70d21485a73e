"""The thread pool's native half, as LLVM text: claim chunks, wait, spin, sleep.

A region is `chunks` calls of ``void function(ptr context, i64 chunk, i64 slot)``. What nobody has
taken yet is the range [front, back), both kept in one word, the ticket, that changes only by
compare-and-swap. The caller takes from the front and workers from the back, so two threads meet
in the middle and the next region finds their data in the same caches. A caller never waits for a
thread that has not begun: it runs every chunk nobody has claimed.

A claim is made before the function is read. A region ends only when its claimed chunks are done,
so whoever holds a claim reads the function that it belongs to, however long it slept.

A worker that finds no work spins, then says so in its `asleep` word and looks once more before it
sleeps; a caller publishes, then looks at `asleep`. Both sides are sequentially consistent, so one
of them sees the other. Sleeping and waking are given as functions (Python's own locks), because
every system has them.
"""

from __future__ import annotations

from kkori.codegen import float_mode
from kkori.codegen.target import Target

__all__ = ["FIELDS", "MOST_CHUNKS", "WORKER", "WORKER_BYTES", "pool_text"]

# Offsets into the pool's memory. What is written by different threads lies in different lines.
FIELDS = {"ticket": 0, "unfinished": 128, "function": 256, "context": 264, "mode": 272,
          "busy": 384, "stop": 392, "spins": 400, "workers": 408, "wake": 416, "sleep": 424,
          "pass": 432, "worker": 512}
WORKER = {"asleep": 0, "lock": 8}
WORKER_BYTES = 128
SIDE_BITS = 24  # of the ticket for front and for back; the rest counts regions
MOST_CHUNKS = (1 << SIDE_BITS) - 1
SPINS_BEFORE_PASS = 2000  # a caller that waits this long may be holding up a worker's processor

PAUSE = {"x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
         "aarch64": ("declare void @llvm.aarch64.hint(i32)",
                     "call void @llvm.aarch64.hint(i32 1)")}

TEXT = """
; Run every chunk, here and in workers; return when all are done.
define void @kkori_parallel(ptr %pool, ptr %function, ptr %context, i64 %chunks) nounwind {
entry:
  %some = icmp sgt i64 %chunks, 0
  br i1 %some, label %look, label %done
look:
  %p.workers = getelementptr i8, ptr %pool, i64 {workers}
  %workers = load atomic i64, ptr %p.workers monotonic, align 8
  %alone = icmp eq i64 %workers, 0
  %few = icmp eq i64 %chunks, 1
  %many = icmp sgt i64 %chunks, {most}
  %a = or i1 %alone, %few
  %b = or i1 %a, %many
  br i1 %b, label %serial, label %enter
enter: ; a region inside a region, or of a second Python thread, runs in its own thread
  %p.busy = getelementptr i8, ptr %pool, i64 {busy}
  %entered = cmpxchg ptr %p.busy, i64 0, i64 1 acquire monotonic
  %ours = extractvalue { i64, i1 } %entered, 1
  br i1 %ours, label %publish, label %serial

serial:
  br label %serial.next
serial.next:
  %s = phi i64 [ 0, %serial ], [ %s.next, %serial.next ]
  call void %function(ptr %context, i64 %s, i64 0)
  %s.next = add i64 %s, 1
  %s.more = icmp slt i64 %s.next, %chunks
  br i1 %s.more, label %serial.next, label %done

publish:
  %p.function = getelementptr i8, ptr %pool, i64 {function}
  %p.context = getelementptr i8, ptr %pool, i64 {context}
  %p.mode = getelementptr i8, ptr %pool, i64 {mode}
  %p.unfinished = getelementptr i8, ptr %pool, i64 {unfinished}
  store ptr %function, ptr %p.function, align 8
  store ptr %context, ptr %p.context, align 8
  %mode = call i64 @{get_mode}()
  store i64 %mode, ptr %p.mode, align 8
  store atomic i64 %chunks, ptr %p.unfinished monotonic, align 8
  %old = load atomic i64, ptr %pool monotonic, align 8
  %region = lshr i64 %old, {sides}
  %region.next = add i64 %region, 1
  %high = shl i64 %region.next, {sides}
  %fresh = or i64 %high, %chunks
  store atomic i64 %fresh, ptr %pool seq_cst, align 8
  br label %wake

wake: ; at most one worker a chunk, and none for the caller's own
  %w = phi i64 [ 0, %publish ], [ %w.next, %wake.end ]
  %helpers = sub i64 %chunks, 1
  %w.left = icmp slt i64 %w, %workers
  %w.use = icmp slt i64 %w, %helpers
  %w.more = and i1 %w.left, %w.use
  br i1 %w.more, label %wake.look, label %claim
wake.look:
  %w.offset = mul i64 %w, {worker_bytes}
  %w.place = add i64 %w.offset, {worker}
  %w.self = getelementptr i8, ptr %pool, i64 %w.place
  %asleep = load atomic i64, ptr %w.self seq_cst, align 8
  %sleeps = icmp eq i64 %asleep, 1
  br i1 %sleeps, label %wake.try, label %wake.end
wake.try:
  %roused = cmpxchg ptr %w.self, i64 1, i64 0 seq_cst monotonic
  %first = extractvalue { i64, i1 } %roused, 1
  br i1 %first, label %wake.call, label %wake.end
wake.call:
  %p.lock = getelementptr i8, ptr %w.self, i64 {lock}
  %lock = load ptr, ptr %p.lock, align 8
  %p.wake = getelementptr i8, ptr %pool, i64 {wake}
  %wake.function = load ptr, ptr %p.wake, align 8
  call void %wake.function(ptr %lock)
  br label %wake.end
wake.end:
  %w.next = add i64 %w, 1
  br label %wake

claim:
  %mine = phi i64 [ 0, %wake ], [ %mine, %claim.try ], [ %mine.next, %claim.run ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %front.high = lshr i64 %ticket, {side}
  %front = and i64 %front.high, {most}
  %back = and i64 %ticket, {most}
  %left = icmp ult i64 %front, %back
  br i1 %left, label %claim.try, label %claimed
claim.try:
  %taken = add i64 %ticket, {one_front}
  %swapped = cmpxchg ptr %pool, i64 %ticket, i64 %taken acq_rel monotonic
  %won = extractvalue { i64, i1 } %swapped, 1
  br i1 %won, label %claim.run, label %claim
claim.run:
  call void %function(ptr %context, i64 %front, i64 0)
  %mine.next = add i64 %mine, 1
  br label %claim

claimed:
  %before = atomicrmw sub ptr %p.unfinished, i64 %mine acq_rel
  %all = icmp eq i64 %before, %mine
  br i1 %all, label %leave, label %wait
wait:
  %spun = phi i64 [ 0, %claimed ], [ %spun.next, %wait.more ], [ 0, %wait.call ], [ 0, %wait.pass ]
  {pause}
  %open = load atomic i64, ptr %p.unfinished acquire, align 8
  %finished = icmp eq i64 %open, 0
  br i1 %finished, label %leave, label %wait.more
wait.more:
  %spun.next = add i64 %spun, 1
  %long = icmp ugt i64 %spun.next, {before_pass}
  br i1 %long, label %wait.pass, label %wait
wait.pass: ; let a worker run whose processor we may be holding
  %p.pass = getelementptr i8, ptr %pool, i64 {pass}
  %pass.function = load ptr, ptr %p.pass, align 8
  %none = icmp eq ptr %pass.function, null
  br i1 %none, label %wait, label %wait.call
wait.call:
  call void %pass.function()
  br label %wait

leave:
  store atomic i64 0, ptr %p.busy release, align 8
  br label %done
done:
  ret void
}

; A worker's life; returns when the pool stops. %slot counts from 1.
define void @kkori_worker(ptr %pool, i64 %slot) nounwind {
entry:
  %p.unfinished = getelementptr i8, ptr %pool, i64 {unfinished}
  %p.function = getelementptr i8, ptr %pool, i64 {function}
  %p.context = getelementptr i8, ptr %pool, i64 {context}
  %p.mode = getelementptr i8, ptr %pool, i64 {mode}
  %p.stop = getelementptr i8, ptr %pool, i64 {stop}
  %p.spins = getelementptr i8, ptr %pool, i64 {spins}
  %number = sub i64 %slot, 1
  %offset = mul i64 %number, {worker_bytes}
  %place = add i64 %offset, {worker}
  %self = getelementptr i8, ptr %pool, i64 %place
  %mode.outside = call i64 @{get_mode}()
  br label %look

look:
  %mode.now = phi i64 [ %mode.outside, %entry ], [ %mode.now, %idle.more ], [ %mode.now, %claim ],
                      [ %mode.wanted, %run ], [ %mode.now, %sleep.undo ], [ %mode.now, %sleep.call ]
  %idle = phi i64 [ 0, %entry ], [ %idle.next, %idle.more ], [ 0, %claim ],
                  [ 0, %run ], [ 0, %sleep.undo ], [ 0, %sleep.call ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  %front.high = lshr i64 %ticket, {side}
  %front = and i64 %front.high, {most}
  %back = and i64 %ticket, {most}
  %left = icmp ult i64 %front, %back
  br i1 %left, label %claim, label %idle.look
claim:
  %taken = sub i64 %ticket, 1
  %swapped = cmpxchg ptr %pool, i64 %ticket, i64 %taken acq_rel monotonic
  %won = extractvalue { i64, i1 } %swapped, 1
  br i1 %won, label %prepare, label %look
prepare: ; compute in the caller's floating-point mode
  %chunk = sub i64 %back, 1
  %mode.wanted = load i64, ptr %p.mode, align 8
  %same = icmp eq i64 %mode.wanted, %mode.now
  br i1 %same, label %run, label %change
change:
  call void @{set_mode}(i64 %mode.wanted)
  br label %run
run:
  %function = load ptr, ptr %p.function, align 8
  %context = load ptr, ptr %p.context, align 8
  call void %function(ptr %context, i64 %chunk, i64 %slot)
  %before = atomicrmw sub ptr %p.unfinished, i64 1 acq_rel
  br label %look

idle.look:
  %stop = load atomic i64, ptr %p.stop seq_cst, align 8
  %stops = icmp ne i64 %stop, 0
  br i1 %stops, label %end, label %idle.wait
idle.wait:
  {pause}
  %spins = load atomic i64, ptr %p.spins monotonic, align 8
  %idle.next = add i64 %idle, 1
  %tired = icmp ugt i64 %idle.next, %spins
  br i1 %tired, label %sleep, label %idle.more
idle.more:
  br label %look

sleep: ; say so, then look once more: a caller publishes first and looks at us second
  %was = atomicrmw xchg ptr %self, i64 1 seq_cst
  %ticket.again = load atomic i64, ptr %pool seq_cst, align 8
  %front.again.high = lshr i64 %ticket.again, {side}
  %front.again = and i64 %front.again.high, {most}
  %back.again = and i64 %ticket.again, {most}
  %work = icmp ult i64 %front.again, %back.again
  %stop.again = load atomic i64, ptr %p.stop seq_cst, align 8
  %stops.again = icmp ne i64 %stop.again, 0
  %awake = or i1 %work, %stops.again
  br i1 %awake, label %sleep.undo.try, label %sleep.call
sleep.undo.try: ; unless somebody is waking us already: then that release must be consumed
  %undone = cmpxchg ptr %self, i64 1, i64 0 seq_cst monotonic
  %undid = extractvalue { i64, i1 } %undone, 1
  br i1 %undid, label %sleep.undo, label %sleep.call
sleep.undo:
  br label %look
sleep.call:
  %p.lock = getelementptr i8, ptr %self, i64 {lock}
  %lock = load ptr, ptr %p.lock, align 8
  %p.sleep = getelementptr i8, ptr %pool, i64 {sleep}
  %sleep.function = load ptr, ptr %p.sleep, align 8
  %held = call i32 %sleep.function(ptr %lock, i32 1)
  br label %look
end:
  call void @{set_mode}(i64 %mode.outside)
  ret void
}

; Turns of an idle loop, to learn how long one takes.
define void @kkori_spin(ptr %pool, i64 %turns) nounwind {
entry:
  br label %next
next:
  %turn = phi i64 [ 0, %entry ], [ %turn.next, %next ]
  %ticket = load atomic i64, ptr %pool acquire, align 8
  {pause}
  %turn.next = add i64 %turn, 1
  %more = icmp ult i64 %turn.next, %turns
  br i1 %more, label %next, label %end
end:
  ret void
}
"""


def pool_text(target: Target) -> str:
    """The text for one target: the same but for how it pauses and where the mode is kept."""
    declaration, pause = PAUSE[target.family.architecture]
    names = {**FIELDS, "lock": WORKER["lock"], "worker_bytes": WORKER_BYTES, "most": MOST_CHUNKS,
             "side": SIDE_BITS, "sides": 2 * SIDE_BITS, "one_front": 1 << SIDE_BITS,
             "before_pass": SPINS_BEFORE_PASS, "get_mode": float_mode.GET,
             "set_mode": float_mode.SET, "pause": pause}
    text = TEXT
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", str(value))
    return "\n".join((declaration, float_mode.text_of(target), text))
