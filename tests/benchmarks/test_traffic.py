"""The memory traffic of a compiled program, from its text."""

from benchmarks.common.ahead_of_time import traffic_bytes

PROGRAM = """
%fused (p: f32[9,9]) -> f32[9,9] {
  ROOT %not_counted = f32[9,9]{1,0} negate(%p)
}

ENTRY %main (x: f32[64,64]) -> pred[4] {
  %x.1 = f32[64,64]{1,0} parameter(0), sharding={replicated}, metadata={op_name="x"}
  %fft.0 = c64[64,33]{1,0} fft(%x.1), fft_type=RFFT, fft_length={64,64}
  %call = (bf16[2,2]{1,0}, u8[100]{0}) custom-call(%fft.0, %x.1), custom_call_target="cudnn", metadata={op_name="a"}
  %part = bf16[2,2]{1,0:T(8,128)} get-tuple-element(%call), index=0
  ROOT %last = pred[4]{0} fusion(%part), kind=kLoop, calls=%fused
}
"""


def test_traffic_counts_what_each_instruction_reads_and_writes_once():
    image, spectrum, call = 4 * 64 * 64, 8 * 64 * 33, 2 * 4 + 100
    assert traffic_bytes(PROGRAM) == (image + spectrum) + (spectrum + image + call) + (2 * 4 + 4)
