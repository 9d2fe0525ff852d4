"""What is read from the text of compiled programs."""

from hfpl_jax.topology.hlo import Collective, moved

TEXT = """HloModule jit_step, is_scheduled=true

%add.1 (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %sum = f32[]{:T(128)} add(%a, %b)
}

%condition.1 (p.1: (s32[], f32[8,4])) -> pred[] {
  %limit = s32[]{:T(128)} constant(6)
  %p.1 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

%body.1 (p.2: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %p.2 = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) parameter(0)
  %i.2 = s32[]{:T(128)S(1)} get-tuple-element(%p.2), index=0
  %x.2 = f32[8,4]{1,0:T(8,128)} get-tuple-element(%p.2), index=1
  %y.2 = f32[8,4]{1,0:T(8,128)} fusion(%x.2), kind=kLoop, calls=%fused.1
  %g.2 = f32[32,4]{1,0:T(8,128)S(1)} all-gather(%y.2), dimensions={0}, metadata={op_name="x"}
  ROOT %t.2 = (s32[]{:T(128)S(1)}, f32[8,4]{1,0:T(8,128)}) tuple(%i.2, %y.2)
}

ENTRY %main (x: f32[8,4], w: bf16[16]) -> f32[8,4] {
  %x = f32[8,4]{1,0:T(8,128)} parameter(0)
  %w = bf16[16]{0:T(256)} parameter(1)
  %zero = s32[]{:T(128)} constant(0)
  %near = f32[8,4]{1,0:T(8,128)S(1)} fusion(%x, %w), kind=kLoop, calls=%fused.2
  %r.1 = (f32[8,4]{1,0:T(8,128)S(1)}, f32[10]{0:T(128)S(1)}) all-reduce(%near, %near), \
replica_groups={{0,1}}, to_apply=%add.1, metadata={op_name="jit(step)/transpose/sum" id=1}
  %s.1 = (bf16[16]{0:T(256)}, bf16[32]{0:T(256)S(1)}) all-gather-start(%w), dimensions={0}
  %d.1 = bf16[32]{0:T(256)S(1)} all-gather-done(%s.1)
  %start = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) tuple(%zero, %x)
  %loop = (s32[]{:T(128)}, f32[8,4]{1,0:T(8,128)}) while(%start), condition=%condition.1, \
body=%body.1, metadata={op_name="jit(step)/while"}
  ROOT %out = f32[8,4]{1,0:T(8,128)} get-tuple-element(%loop), index=1
}
"""


def test_messages_have_the_size_of_their_result_and_count_as_often_as_their_loop():
    assert moved(TEXT).collectives == (
        Collective("all-reduce", 4 * 32 + 4 * 10, 1, "jit(step)/transpose/sum"),
        Collective("all-gather", 2 * 32, 1, ""),
        Collective("all-gather", 4 * 128, 6, "x"),
    )


def test_what_stays_near_the_chip_is_not_moved_and_a_loop_moves_as_often_as_it_is_run():
    of_x, of_w = 4 * 32, 2 * 16
    inside = 2 * of_x + of_x  # the fusion reads and writes, the message reads
    assert moved(TEXT).memory == of_x + of_w + of_w + 6 * inside
