"""The routine that decodes parts of JPEGs by libjpeg-turbo, compiled by LLVM when it is first needed (about 30 ms).

libjpeg reports a fatal error by calling `error_exit`, which must not return, since the library would go on with what it has. C
programs leave it by `longjmp`, to a frame of their own that is still there. Neither ctypes nor Numba can write such a frame, so
this one is written in LLVM's language, which the compiler that Numba brings translates. It does what the documentation of
libjpeg says, in the order of its `example.c`. `_setjmp` and `_longjmp` leave the thread's signal mask alone on every system.

Offsets are those of ABI 6.2 on 64-bit systems, which libjpeg has kept since 1998: `jpeg_CreateDecompress` is told the version
and the size of the struct, and refuses to work if the library has others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm

FUNCTIONS = (
    "jpeg_std_error",
    "jpeg_CreateDecompress",
    "jpeg_mem_src",
    "jpeg_read_header",
    "jpeg_start_decompress",
    "jpeg_crop_scanline",
    "jpeg_skip_scanlines",
    "jpeg_read_scanlines",
    "jpeg_destroy_decompress",
)
"""Functions of libjpeg that the routine calls, in the order of its table."""

SLACK = 128
"""Bytes before the pixels of a file, and behind those of the last one, that the routine may write to."""

GOOD, FAILED, WARNED = 0, 1, 3
"""What the routine says of a file that was decoded without an error and without a warning, and of others."""

SOURCE = """
declare i32 @_setjmp(ptr) returns_twice
declare void @_longjmp(ptr, i32) noreturn
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

; libjpeg's error_exit: leave for the frame whose jmp_buf lies 256 bytes behind the struct of the errors.
define internal void @leave(ptr %info) noreturn {
  %errors = load ptr, ptr %info
  %buffer = getelementptr i8, ptr %errors, i64 256
  call void @_longjmp(ptr %buffer, i32 1)
  unreachable
}

; libjpeg's output_message, which would write to stderr.
define internal void @silent(ptr %info) {
  ret void
}

; Decode `height` rows from `top` on of a picture of `rows` x `columns`, of each `width` pixels from `left` on; leave out `skip`
; pixels of a row, and write the next `keep` to `out`, without gaps.
; Returns 0 if all went well, 1 after an error, 2 if the picture is not as told, 3 after a warning.
define internal i32 @decode(ptr %library, ptr %data, i64 %size, i32 %rows, i32 %columns, i32 %top, i32 %left, i32 %height,
                            i32 %width, i32 %skip, i32 %keep, ptr %out) noinline {
start:
  %info = alloca [640 x i8], align 16       ; struct jpeg_decompress_struct, 632 bytes
  %errors = alloca [1024 x i8], align 16    ; struct jpeg_error_mgr, 168 bytes, and from byte 256 on a jmp_buf
  %x = alloca i32
  %w = alloca i32
  %row = alloca ptr
  %tail = alloca [128 x i8], align 16
  call void @llvm.memset.p0.i64(ptr %info, i8 0, i64 640, i1 false)
  %std_error = load ptr, ptr %library
  call ptr %std_error(ptr %errors)
  store ptr %errors, ptr %info
  store ptr @leave, ptr %errors
  %message = getelementptr i8, ptr %errors, i64 16
  store ptr @silent, ptr %message
  %a1 = getelementptr ptr, ptr %library, i64 1
  %create = load ptr, ptr %a1
  %a2 = getelementptr ptr, ptr %library, i64 2
  %mem_src = load ptr, ptr %a2
  %a3 = getelementptr ptr, ptr %library, i64 3
  %read_header = load ptr, ptr %a3
  %a4 = getelementptr ptr, ptr %library, i64 4
  %start_decompress = load ptr, ptr %a4
  %a5 = getelementptr ptr, ptr %library, i64 5
  %crop = load ptr, ptr %a5
  %a6 = getelementptr ptr, ptr %library, i64 6
  %pass = load ptr, ptr %a6
  %a7 = getelementptr ptr, ptr %library, i64 7
  %read = load ptr, ptr %a7
  %a8 = getelementptr ptr, ptr %library, i64 8
  %destroy = load ptr, ptr %a8
  %frame = getelementptr i8, ptr %errors, i64 256
  %left_by = call i32 @_setjmp(ptr %frame) returns_twice
  %failed = icmp ne i32 %left_by, 0
  br i1 %failed, label %error, label %open

open:
  call void %create(ptr %info, i32 62, i64 632)
  call void %mem_src(ptr %info, ptr %data, i64 %size)
  call i32 %read_header(ptr %info, i32 1)
  %space = getelementptr i8, ptr %info, i64 64
  store i32 2, ptr %space                   ; out_color_space = JCS_RGB
  call i32 %start_decompress(ptr %info)
  %columns_at = getelementptr i8, ptr %info, i64 136
  %its_columns = load i32, ptr %columns_at  ; output_width
  %rows_at = getelementptr i8, ptr %info, i64 140
  %its_rows = load i32, ptr %rows_at        ; output_height
  %channels_at = getelementptr i8, ptr %info, i64 148
  %its_channels = load i32, ptr %channels_at  ; output_components
  %same_columns = icmp eq i32 %its_columns, %columns
  %same_rows = icmp eq i32 %its_rows, %rows
  %three = icmp eq i32 %its_channels, 3
  %same_size = and i1 %same_columns, %same_rows
  %same = and i1 %same_size, %three
  br i1 %same, label %narrow, label %other

narrow:
  %whole = icmp eq i32 %width, %columns
  br i1 %whole, label %lower, label %cropped

cropped:
  store i32 %left, ptr %x
  store i32 %width, ptr %w
  call void %crop(ptr %info, ptr %x, ptr %w)
  %its_left = load i32, ptr %x
  %its_width = load i32, ptr %w
  %same_left = icmp eq i32 %its_left, %left
  %same_width = icmp eq i32 %its_width, %width
  %aligned = and i1 %same_left, %same_width
  br i1 %aligned, label %lower, label %other

lower:
  %pixels_before = zext i32 %skip to i64
  %before = mul i64 %pixels_before, 3
  %fits = icmp ule i64 %before, 128
  br i1 %fits, label %rows_above, label %other

rows_above:
  %from_top = icmp eq i32 %top, 0
  br i1 %from_top, label %loop, label %skipped

skipped:
  %gone = call i32 %pass(ptr %info, i32 %top)
  %all_gone = icmp eq i32 %gone, %top
  br i1 %all_gone, label %loop, label %other

loop:
  %y = phi i32 [ 0, %rows_above ], [ 0, %skipped ], [ %next, %more ]
  %at_end = icmp uge i32 %y, %height
  br i1 %at_end, label %end, label %more

; The pixels that are left out on the left lie over the end of the row before, which is put back; those on the right lie where
; the next row comes.
more:
  %wide = zext i32 %keep to i64
  %line = mul i64 %wide, 3
  %deep = zext i32 %y to i64
  %down = mul i64 %line, %deep
  %offset = sub i64 %down, %before
  %to = getelementptr i8, ptr %out, i64 %offset
  call void @llvm.memcpy.p0.p0.i64(ptr %tail, ptr %to, i64 %before, i1 false)
  store ptr %to, ptr %row
  %got = call i32 %read(ptr %info, ptr %row, i32 1)
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %tail, i64 %before, i1 false)
  %next = add i32 %y, %got
  %none = icmp eq i32 %got, 0
  br i1 %none, label %other, label %loop

end:
  %warnings_at = getelementptr i8, ptr %errors, i64 128
  %warnings = load i64, ptr %warnings_at
  %quiet = icmp eq i64 %warnings, 0
  call void %destroy(ptr %info)
  %found = select i1 %quiet, i32 0, i32 3
  ret i32 %found

error:
  call void %destroy(ptr %info)
  ret i32 1

other:
  call void %destroy(ptr %info)
  ret i32 2
}

; Decode `count` files: the addresses of their contents and their sizes; the eight numbers of each, from rows to keep; and where
; its pixels go. What became of each is written to `found`.
define void @decode_files(ptr %library, i64 %count, ptr %datas, ptr %sizes, ptr %boxes, ptr %outs, ptr %found) {
start:
  br label %loop

loop:
  %k = phi i64 [ 0, %start ], [ %next, %one ]
  %done = icmp uge i64 %k, %count
  br i1 %done, label %end, label %one

one:
  %data_at = getelementptr ptr, ptr %datas, i64 %k
  %data = load ptr, ptr %data_at
  %size_at = getelementptr i64, ptr %sizes, i64 %k
  %size = load i64, ptr %size_at
  %out_at = getelementptr ptr, ptr %outs, i64 %k
  %out = load ptr, ptr %out_at
  %first = mul i64 %k, 8
  %box = getelementptr i32, ptr %boxes, i64 %first
  %rows = load i32, ptr %box
  %b1 = getelementptr i32, ptr %box, i64 1
  %columns = load i32, ptr %b1
  %b2 = getelementptr i32, ptr %box, i64 2
  %top = load i32, ptr %b2
  %b3 = getelementptr i32, ptr %box, i64 3
  %left = load i32, ptr %b3
  %b4 = getelementptr i32, ptr %box, i64 4
  %height = load i32, ptr %b4
  %b5 = getelementptr i32, ptr %box, i64 5
  %width = load i32, ptr %b5
  %b6 = getelementptr i32, ptr %box, i64 6
  %skip = load i32, ptr %b6
  %b7 = getelementptr i32, ptr %box, i64 7
  %keep = load i32, ptr %b7
  %what = call i32 @decode(ptr %library, ptr %data, i64 %size, i32 %rows, i32 %columns, i32 %top, i32 %left, i32 %height,
                           i32 %width, i32 %skip, i32 %keep, ptr %out)
  %found_at = getelementptr i32, ptr %found, i64 %k
  store i32 %what, ptr %found_at
  %next = add i64 %k, 1
  br label %loop

end:
  ret void
}
"""


def engine() -> Any:
    """The compiled routine; its machine code is freed with this object."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(SOURCE)
    module.verify()
    made = llvm.create_mcjit_compiler(module, llvm.Target.from_default_triple().create_target_machine(opt=2))
    made.finalize_object()
    return made


def routine(compiled: Any) -> Callable[..., None]:
    """`decode_files` of an engine, which the caller must keep, as a function of Python. It runs without the GIL."""
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * 5)
    return signature(compiled.get_function_address("decode_files"))


def table(library: ctypes.CDLL) -> Any:
    """The addresses of libjpeg's functions, in the order of `FUNCTIONS`. Raises AttributeError if the library lacks one."""
    addresses = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in FUNCTIONS]
    return (ctypes.c_void_p * len(FUNCTIONS))(*addresses)
