"""Names that are left out of the list, each with its reason. A name that is neither here nor has a call that fits is a
failure: it is new, and somebody must look at it."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

REASONS: dict[str, str] = {
    "of Python's object, not of tensors": (
        "*.__annotations__ *.__class__ *.__delattr__ *.__dict__ *.__doc__ *.__getattribute__ *.__init__ *.__init_subclass__ "
        "*.__module__ *.__new__ *.__setattr__ *.__subclasshook__ *.__weakref__ *.__dir__ *.__getstate__ *.__hash__"
    ),
    "says how a tensor is kept, and differs on purpose: there is no dense memory (identity, addresses, text, counts)": (
        "Tensor.__repr__ Tensor.__str__ Tensor.__sizeof__ Tensor._cdata Tensor._use_count Tensor.data_ptr Tensor.const_data_ptr "
        "Tensor.untyped_storage Tensor.storage Tensor._typed_storage Tensor._fix_weakref Tensor._python_dispatch "
        "Tensor.__torch_dispatch__ Tensor.__torch_function__ Tensor._is_view Tensor._base Tensor._version Tensor.nbytes"
    ),
    "gives the address of an object as bytes, another one at every call": "torch.fbgemm_pack_quantized_matrix",
    "changes the whole process or tells its state; takes no weight": (
        "torch.set_* torch.get_* torch.is_*_enabled torch.is_*_available torch.are_* torch.autocast_* torch.clear_autocast_cache torch.seed "
        "torch.manual_seed torch.initial_seed torch.use_deterministic_algorithms torch.init_num_threads torch.compiled_with_* "
        "torch.prepare_multiprocessing_environment torch.thread_safe_generator torch.profiler_* torch.is_warn_always_enabled "
        "torch.is_autocast_* torch.is_anomaly_* torch.is_deterministic_* torch.is_grad_enabled torch.is_inference_mode_enabled"
    ),
    "makes or reads programs, types and schemas; takes no weight": (
        "torch.compile torch.import_ir_module* torch.parse_* torch.merge_type_from_type_comment torch.unify_type_list torch.fork "
        "torch.wait torch.sym_* torch.classproperty torch.vmap torch.while_loop torch.cond torch.typename functional.boolean_dispatch "
        "functional.has_torch_function* functional.handle_torch_function functional.assert_int_or_pair functional.Optional "
        "torch.promote_types torch.can_cast torch.is_storage"
    ),
    "makes a tensor of numbers alone; takes no weight": (
        "torch.arange torch.bartlett_window torch.blackman_window torch.broadcast_shapes torch.empty torch.empty_permuted "
        "torch.empty_quantized torch.empty_strided torch.eye torch.from_file torch.full torch.hamming_window torch.hann_window "
        "torch.kaiser_window torch.linspace torch.logspace torch.ones torch.rand torch.randint torch.randn torch.randperm torch.range "
        "torch.tril_indices torch.triu_indices torch.zeros fft.fftfreq fft.rfftfreq torch.frombuffer torch.from_numpy"
    ),
    "of devices that are not here": (
        "*.cuda *.ipu *.xpu *.mtia *.is_mps torch.cudnn_* torch.miopen_* torch.*_vulkan* Tensor.__cuda_array_interface__ "
        "Tensor.record_stream Tensor.is_vulkan torch.batch_norm_*elemt* torch.batch_norm_*stats* torch.batch_norm_backward_* "
        "torch.cudnn_grid_sampler torch.mkldnn_rnn_layer"
    ),
    "needs memory of devices, or makes a tensor of another library's class": (
        "Tensor.pin_memory Tensor._make_wrapper_subclass Tensor._dtensor__new__"
    ),
    "says that the weight is frozen, as documented": "Tensor.requires_grad_",
    "trains copies of the layers themselves, and compressed weights stay frozen (which requires_grad_ says)": "peft.LNTuningConfig",
    "absent on purpose, so that C++ asks Python": "Tensor.__dlpack_c_exchange_api__",
    "private: torch.nn.Parameter is the public way": "Tensor._make_subclass",
    "names of types, constants and tools of Python": (
        "*.Optional *.Union *.Literal *.Final *.Dict *.List *.Set *.Tuple *.cast *.deepcopy *.override *.abstractmethod "
        "*.contextmanager *.T_destination peft.*_MAPPING peft.*Error peft.*Warning peft.TaskType peft.PeftType peft.*Init "
        "peft.*ReparameterizationType Module.__*__ Module._version Module.dump_patches Module.call_super_init"
    ),
    "keeps, gives or says something that is no weight": (
        "init.calculate_gain parametrize.get_swap_module_params_on_conversion parametrize.is_opaque_reference_type "
        "parametrize.is_traceable_wrapper_subclass func.rearrange func.replace_all_batch_norm_modules_ Module._get_backward_* "
        "Module._maybe_warn_* Module._register_* Module.register_*_hook Module.get_extra_state Module.set_extra_state "
        "Module._compiled_call_impl accelerate*.is_* accelerate_utils.are_* accelerate_utils.check_cuda_* accelerate_utils.check_os_kernel "
        "accelerate_utils.*environ* accelerate_utils.compare_versions accelerate_utils.convert_bytes accelerate_utils.convert_dict_* "
        "accelerate_utils.convert_file_size_to_int accelerate_utils.get_int_from_env accelerate_utils.get_max_memory "
        "accelerate_utils.get_cpu_distributed_information accelerate_utils.get_current_device_type accelerate_utils.get_gpu_info "
        "accelerate_utils.get_grad_scaler accelerate_utils.get_mixed_precision_context_manager accelerate_utils.get_pretty_name "
        "accelerate_utils.parse_* accelerate_utils.prepare_* accelerate_utils.recursive_getattr accelerate_utils.set_* "
        "accelerate_utils.str_to_bool accelerate_utils.synchronize_* accelerate.synchronize_* accelerate_utils.tqdm "
        "accelerate_utils.wait_for_everyone accelerate_utils.write_basic_config accelerate_utils.add_model_config_to_megatron_parser "
        "accelerate_utils.install_xla accelerate.skip_first_batches accelerate.*launcher accelerate_utils.torchao_required "
        "accelerate_utils.deepspeed_required peft.get_peft_config peft.shift_tokens_right peft_utils.infer_device peft_utils._get_batch_size "
        "peft_utils._is_valid_match peft_utils.register_peft_method peft_utils.quantization_extra_repr peft_utils.get_quantization_* "
        "peft_utils.resolve_quantization_backend peft_utils.map_cache_to_layer_device_map peft_utils._get_input_embeddings_name"
    ),
    "TorchScript's own settings and files of functions": (
        "jit.*onednn* jit.export_opnames jit.fuser jit.ignore jit.interface jit.is_* jit.*flatbuffer jit.last_executed_optimized_graph "
        "jit.optimized_execution jit.set_* jit.unused"
    ),
    "the other half of what reductions.reduce_* gives, or of devices that are not here": (
        "reductions.rebuild_* reductions.*event reductions.fd_id reductions.init_reductions reductions.register_after_fork "
        "reductions.storage_from_cache reductions.reduce_typed_storage_child"
    ),
    "takes dictionaries of bytes, which have no weight": "safetensors.serialize* safetensors.deserialize",
    "compiles, which takes minutes: test_torch_training.py has compilers": "Module.compile accelerate_utils.compile_regions*",
    "a class whose config is in the list, or a model of transformers (transformers_adapter has those)": (
        "peft.*Model peft.PeftModelFor* peft.AutoPeftModel* peft.PrefixEncoder peft.PromptEmbedding peft.PromptEncoder peft.CPTEmbedding "
        "peft.CartridgeEncoder peft.PeftConfig peft_utils.*Wrapper peft_utils._prepare_prompt_learning_config peft_utils.set_additional_trainable_modules"
    ),
    "works on the prompt or the cache of a language model, not on weights": (
        "peft.AdaptionPromptConfig peft.CPTConfig peft.CartridgeConfig peft.MultitaskPromptTuningConfig peft.PrefixTuningConfig "
        "peft.PromptEncoderConfig peft.PromptTuningConfig peft.PromptLearningConfig peft.*past_key_value* peft.*kv_prefix* "
        "peft.compose_cartridge_adapters peft.ShadowConfig"
    ),
    "a setting of LoraConfig": (
        "peft.EvaConfig peft.LoftQConfig peft.LoraGAConfig peft.LoraRuntimeConfig peft.KasaConfig peft.BdLoraConfig peft.MontecloraConfig "
        "peft.VeloraConfig peft.ArrowConfig peft.create_arrow_model"
    ),
    "needs a package, a data set or task numbers that are not here": (
        "peft.AdamssConfig peft.PolyConfig peft.XLoraConfig peft.get_eva_state_dict peft.initialize_lora_eva_weights peft.preprocess_loraga "
        "peft.load_peft_weights peft.replace_lora_weights_loftq peft_utils.get_gptqmodel_quant_linear accelerate.prepare_pippy "
        "accelerate_utils.*fsdp* accelerate_utils.*megatron* accelerate_utils.*fp8* accelerate_utils.avg_losses_* accelerate_utils.convert_model "
        "accelerate_utils.filter_first_and_last_linear_layers accelerate_utils.load_and_quantize_model accelerate_utils.GatheredParameters"
    ),
    "torch took them out long ago: they only say so": (
        "Tensor.eig torch.eig Tensor.lstsq torch.lstsq Tensor.solve torch.solve Tensor.symeig torch.symeig torch.matrix_rank"
    ),
    "of quantised tensors, which no compressed weight is": "torch.quantized_* torch.fused_moving_avg_obs_fake_quant",
    "the reading half of pickling": "Tensor.__setstate__",
    "of dates": "numpy.isnat",
}
"""Reason: patterns of names, separated by spaces."""


def reason(name: str) -> str:
    """Why a name is left out, or ''."""
    for why, patterns in REASONS.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return why
    return ""


def unused(names: Iterable[str]) -> list[str]:
    """Patterns that fit no name."""
    every = set(names)
    patterns = [pattern for patterns in REASONS.values() for pattern in patterns.split()]
    return [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in every)]
