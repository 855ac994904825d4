"""Where the names of rarely used namespaces come from: they are imported when somebody first asks for them.

``import flambeau`` must be quick, so its ``__getattr__`` (and that of the packages named here) looks a name up in
these tables; ``operator.namespace`` makes that function and says how an entry is written.  A program
that never builds a module need not wait for ``nn``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

__all__ = ["TOP", "members", "modules", "submodules"]


def submodules(package: str) -> Callable[[str], ModuleType]:
    """``__getattr__`` of a package whose modules are imported when somebody first asks for them."""

    def find(name: str) -> ModuleType:
        full = f"{package}.{name}"
        try:
            if not name.startswith("_"):
                return importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full:
                raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def modules(names: str) -> dict[str, str]:
    """Entries of modules, each called as it is found."""
    return dict.fromkeys(names.split(), ".")


def members(module: str, names: str) -> dict[str, str]:
    """Entries of names that are defined in one module."""
    return dict.fromkeys(names.split(), f".{module}")


TOP: dict[str, str] = {
    **modules(
        """
        _C
        __config__
        _custom_ops
        _dynamo
        _higher_order_ops
        _ops
        _subclasses
        _tensor
        _tensor_str
        _utils
        accelerator
        alias
        amp
        ao
        autograd
        backends
        classes
        compiler
        cpu
        cuda
        distributed
        distributions
        export
        fft
        func
        functional
        futures
        fx
        hub
        jit
        library
        linalg
        masked
        monitor
        mps
        mtia
        multiprocessing
        nn
        nested
        numa
        onnx
        ops
        optim
        overrides
        profiler
        quantization
        quantized
        quasirandom
        random
        return_types
        serialization
        signal
        sparse
        special
        storage
        testing
        torch_version
        types
        utils
        version
        xpu
        """
    ),
    **members(
        "amp.autocast_mode",
        """
        autocast autocast_decrement_nesting autocast_increment_nesting clear_autocast_cache get_autocast_cpu_dtype
        get_autocast_dtype get_autocast_gpu_dtype is_autocast_cache_enabled is_autocast_cpu_enabled is_autocast_enabled
        set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled set_autocast_dtype
        set_autocast_enabled set_autocast_gpu_dtype get_autocast_ipu_dtype get_autocast_xla_dtype
        is_autocast_ipu_enabled is_autocast_xla_enabled set_autocast_ipu_dtype set_autocast_ipu_enabled
        set_autocast_xla_dtype set_autocast_xla_enabled
        """,
    ),
    **members("accelerator", "get_device_module"),
    **members("alias", "install_as_torch"),
    **members(
        "asserts",
        """
        _assert _assert_async _check _check_index _check_is_size _check_not_implemented _check_tensor_all _check_type
        _check_value _check_with
        """,
    ),
    **members(
        "ops.inplace_functions",
        """
        abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ as_strided_ asin_ asinh_ atan_
        atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ conj_physical_ cos_ cosh_ deg2rad_ detach_ erf_ erfc_ exp2_
        exp_ expm1_ fill_ fix_ floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_
        nan_to_num_ neg_ negative_ rad2deg_ reciprocal_ relu_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_
        tan_ tanh_ trunc_ xlogy_ zero_
        """,
    ),
    **members("ops.embedding", "embedding_renorm_"),
    **members("amp.grad_scaler", "GradScaler"),
    **members("compiler", "compile"),
    **members("func", "vmap"),
    **members("futures", "Future wait"),
    **members("errors", "AcceleratorError FatalError OutOfMemoryError"),
    **members("runtime.pool", "get_num_threads set_num_threads"),
    **members("_C", "DisableTorchFunction DisableTorchFunctionSubclass"),
    **members("jit", "CompilationUnit JITException ScriptFunction ScriptModule ScriptObject fork"),
    **members("jit.dicts", "BufferDict ModuleDict ParameterDict"),
    **members("jit.ir", "Block Node Use Value"),
    **members("jit.graph", "Graph parse_ir"),
    **members("jit.loading", "import_ir_module import_ir_module_from_buffer"),
    **members(
        "modes",
        """
        are_deterministic_algorithms_enabled compiled_with_cxx11_abi get_deterministic_debug_mode
        get_float32_matmul_precision get_num_interop_threads init_num_threads
        is_deterministic_algorithms_warn_only_enabled is_warn_always_enabled set_deterministic_debug_mode
        has_lapack has_mkl has_openmp has_spectral
        set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_warn_always
        use_deterministic_algorithms
        """,
    ),
    **members(
        "native_functions",
        """
        adaptive_max_pool1d affine_grid_generator avg_pool1d batch_norm bilinear
        binary_cross_entropy_with_logits celu_ cond conv_tbc convolution detach_copy embedding_bag from_file
        cosine_embedding_loss hinge_embedding_loss margin_ranking_loss triplet_margin_loss
        frobenius_norm instance_norm is_anomaly_check_nan_enabled is_anomaly_enabled kl_div lobpcg max_pool1d
        max_pool1d_with_indices max_pool2d max_pool3d norm_except_dim nuclear_norm poisson_nll_loss
        quantized_batch_norm quantized_max_pool1d quantized_max_pool2d
        quantized_max_pool3d selu_ set_anomaly_enabled
        set_default_tensor_type sym_float sym_int sym_ite sym_max sym_min sym_not sym_sqrt sym_sum
        thread_safe_generator threshold_ to_dlpack while_loop
        """,
    ),
    **members(
        "native_layers",
        """
        batch_norm_update_stats dsmm gru hsmm lstm mkldnn_convolution mkldnn_rnn_layer resize_as_sparse_ rnn_relu
        rnn_tanh saddmm slice_inverse spmm sym_constrain_range sym_constrain_range_for_size sym_fresh_size
        """,
    ),
    **members(
        "absent_kernels",
        """
        batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats
        batch_norm_gather_stats_with_counts batch_norm_stats cudnn_affine_grid_generator cudnn_batch_norm
        cudnn_convolution cudnn_convolution_add_relu cudnn_convolution_relu cudnn_convolution_transpose
        cudnn_grid_sampler cudnn_is_acceptable eig is_vulkan_available lstsq matrix_rank miopen_batch_norm
        miopen_convolution miopen_convolution_add_relu miopen_convolution_relu miopen_convolution_transpose
        miopen_ctc_loss miopen_depthwise_convolution miopen_rnn mkldnn_adaptive_avg_pool2d
        mkldnn_linear_backward_weights mkldnn_max_pool2d mkldnn_max_pool3d native_norm solve symeig
        """,
    ),
    **members("dispatch_keys", "DispatchKey DispatchKeySet ExcludeDispatchKeyGuard Tag"),
    **members("futures", "Future"),
    **members("jit.containers", "ScriptDict ScriptDictIterator ScriptDictKeyIterator ScriptList ScriptListIterator"),
    **members("jit.logger", "AVG AggregationType LockingLogger NoopLogger SUM"),
    **members("jit.schemas", "Argument FunctionSchema merge_type_from_type_comment parse_schema parse_type_comment"),
    **members(
        "jit.types",
        """
        AnyType AwaitType BoolType ClassType ComplexType DeviceObjType DictType EnumType FloatType FutureType
        InferredType IntType InterfaceType ListType NoneType NumberType OptionalType PyObjectType RRefType StreamObjType
        StringType SymBoolType SymIntType TensorType TupleType Type UnionType unify_type_list
        """,
    ),
    **members("streams", "Event Stream"),
    **members("testing.file_check", "FileCheck"),
    **members("nn._recurrent", "gru_cell lstm_cell rnn_relu_cell rnn_tanh_cell"),
    **members("serialization", "load save"),
    **members("serialization.reader", "PyTorchFileReader"),
    **members("serialization.writer", "DeserializationStorageContext PyTorchFileWriter SerializationStorageContext"),
    **members("utils.throughput_benchmark", "BenchmarkConfig BenchmarkExecutionStats ThroughputBenchmark"),
    **members("quantized.observed", "fused_moving_avg_obs_fake_quant"),
    **members("export.symbol", "SymBool SymFloat SymInt"),
    **members(
        "ops.storages",
        """
        BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage DoubleStorage
        FloatStorage HalfStorage IntStorage LongStorage QInt32Storage QInt8Storage QUInt2x4Storage QUInt4x2Storage
        QUInt8Storage ShortStorage Storage StorageBase
        """,
    ),
    **members(
        "dtype",
        """
        bit bits16 bits1x8 bits2x4 bits4x2 bits8 float4_e2m1fn_x2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu
        int1 int2 int3 int4 int5 int6 int7 qint32 qint8 quint2x4 quint4x2 quint8 uint1 uint2 uint3 uint4 uint5 uint6
        uint7
        """,
    ),
    **members(
        "quantized",
        """
        _int_mm _make_per_channel_quantized_tensor _make_per_tensor_quantized_tensor _scaled_mm dequantize
        fake_quantize_per_channel_affine fake_quantize_per_tensor_affine int_repr per_channel_affine
        per_channel_affine_float_qparams per_channel_symmetric per_tensor_affine per_tensor_symmetric
        q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point qscheme
        quantize_per_channel quantize_per_tensor quantize_per_tensor_dynamic
        """,
    ),
    **members(
        "quantized.linear",
        """
        choose_qparams_optimized empty_quantized fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation
        fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation fbgemm_linear_quantize_weight
        fbgemm_pack_gemm_matrix_fp16 fbgemm_pack_quantized_matrix quantized_gru_cell quantized_lstm_cell
        quantized_rnn_relu_cell quantized_rnn_tanh_cell
        """,
    ),
    **members(
        "sparse",
        """
        ccol_indices_copy col_indices_copy crow_indices_copy hspmm indices_copy row_indices_copy smm sparse_bsc_tensor
        sparse_bsr_tensor sparse_compressed_tensor sparse_coo_tensor sparse_csc_tensor sparse_csr_tensor sspaddmm
        values_copy
        """,
    ),
}
