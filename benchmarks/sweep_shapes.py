"""What `sweep.py` times: shapes, indexing, products, linear algebra, Fourier transforms, layers and losses."""

from __future__ import annotations

from sweep_group import Group, each

__all__ = ["GROUPS"]

_X = "x = torch.randn(n // 1024, 1024)"
_XY = "x, y = torch.randn(n // 1024, 1024), torch.randn(n // 1024, 1024)"
_CUBE = "x = torch.randn(n // 4096, 64, 64)"
_IMAGE = "x = torch.randn(max(n // 65536, 1), 64, 32, 32)"
_VOLUME = "x = torch.randn(max(n // 65536, 1), 16, 16, 16, 16)"
_SIGNAL = "x = torch.randn(max(n // 16384, 1), 64, 256)"
_ROWS = "; i = torch.randint(0, n // 1024, (n // 1024,))"
_COLUMNS = "; i = torch.randint(0, 1024, (1024,))"
_WHERE = "; i = torch.randint(0, 1024, (n // 1024, 1024))"

SHAPES = [
    Group(
        _X,
        "x",
        each("x.{} + 0", "t() view(-1) reshape(1024,-1) flatten() ravel() unsqueeze(0) squeeze() T mT mH H adjoint()")
        + each("x.{} + 0", "transpose(0,1) swapaxes(0,1) swapdims(0,1) permute(1,0) movedim(0,1) moveaxis(0,1)")
        + each(
            "x.{} + 0", "narrow(1,0,512) select(1,3) diagonal() unfold(1,32,32) unflatten(1,(32,32)) expand(2,-1,-1)"
        )
        + each("x.{} + 0", "as_strided((512,512),(1,512)) expand_as(x) view_as(x) reshape_as(x) broadcast_to(x.shape)")
        + each("x.{}[0] + 0", "chunk(2,1) split(512,1) unbind(1) tensor_split(3,1) hsplit(2) vsplit(2)")
        + (
            "x.split_with_sizes([24, 1000], 1)[1] + 0",
            "torch.unsafe_chunk(x, 2)[0] + 0",
            "torch.unsafe_split(x, 9)[0] + 0",
        )
        + (
            "torch.broadcast_tensors(x, x[0])[1] + 0",
            "torch.meshgrid(x[0], x[0], indexing='ij')[0] + 0",
            "x.detach() + x",
        )
        + ("x[:, ::2].contiguous()", "x.t().contiguous()", "x[:, 5:] * 1", "x[3]", "x[..., None] + 0"),
    ),
    Group(
        _CUBE,
        "x",
        ("x.dsplit(2)[0] + 0", "torch.atleast_3d(x) + 0", "x.rot90(1, (1, 2))", "x.transpose(0, 2).contiguous()"),
    ),
    Group(
        "x = torch.randn(n // 512, 8, 64)", "x", ("x.transpose(0, 1).contiguous()", "x.permute(2, 1, 0).contiguous()")
    ),
    Group(
        _X,
        "x",
        ("torch.atleast_1d(x) + 0", "torch.atleast_2d(x) + 0", "torch.positive(x) + 0", "x.requires_grad_() + 0"),
    ),
    Group(
        _XY,
        "x y",
        each("torch.{}([x, y], 0)", "cat stack concat")
        + each("torch.{}([x, y], 1)", "cat stack")
        + each("torch.{}([x, y])", "hstack vstack dstack column_stack row_stack")
        + ("torch.block_diag(x[:, :256], y[:, :256])",)
        + ("torch.cat([x, x, y, y, x], 1)", "torch.stack([x, y], -1)"),
    ),
    Group(
        _X,
        "x",
        each(
            "x.{}", "flip(1) flip(0) fliplr() flipud() roll(3,1) roll(5,0) roll(7) rot90() tril() triu() tril(5) diag()"
        )
        + (
            "x.repeat(2, 2)",
            "x.tile(2, 2)",
            "x.repeat_interleave(2, 1)",
            "x.repeat_interleave(2, 0)",
            "x.diag_embed()[:1]",
        )
        + (
            "F.pad(x, (3, 3))",
            "torch.constant_pad_nd(x, (1, 2, 3, 4), 1.0)",
            "x[:1].diagflat()",
            "torch.diag_embed(x[:4])",
        )
        + ("x.diagonal_scatter(x[0, :256])", "x.select_scatter(x[:, 1], 1, 0)", "x.slice_scatter(x[:, :9], 1, 5, 14)")
        + ("x.as_strided_scatter(x[0], (1024,), (1,))", "torch.channel_shuffle(x.view(-1, 64, 4, 4), 4)")
        + ("torch.combinations(x[0, :200])[:, 0]",)
        + ("torch.cartesian_prod(x[0, :300], x[0, :300])",),
    ),
    Group(
        _X,
        "",
        each("torch.{}_copy(x)", "alias detach t")
        + ("torch.transpose_copy(x, 0, 1)", "torch.permute_copy(x, (1, 0))", "torch.view_copy(x, (-1,))")
        + ("torch.diagonal_copy(x)", "torch.expand_copy(x, (2, -1, -1))", "torch.narrow_copy(x, 1, 3, 99)")
        + ("torch.select_copy(x, 1, 3)", "torch.slice_copy(x, 1, 0, 99)", "torch.split_copy(x, 64)[0]")
        + ("torch.split_with_sizes_copy(x, [24, 1000], 1)[0]", "torch.squeeze_copy(x)", "torch.unbind_copy(x[:9])[0]")
        + (
            "torch.unfold_copy(x, 1, 32, 32)",
            "torch.unsqueeze_copy(x, 0)",
            "torch.as_strided_copy(x, (99, 99), (9, 9))",
        ),
    ),
    Group(
        _IMAGE,
        "x",
        ("F.pad(x, (1, 1, 1, 1))", *(f"F.pad(x, (1, 1, 1, 1), '{m}')" for m in ("reflect", "replicate", "circular"))),
    ),
    Group(
        _IMAGE,
        "x",
        ("F.pixel_shuffle(x, 2)", "F.pixel_unshuffle(x, 2)", "F.channel_shuffle(x, 4)", "F.unfold(x, 3)")
        + ("x.contiguous(memory_format=torch.channels_last)",),
    ),
    Group(_IMAGE, "", ("torch.native_channel_shuffle(x, 4)", "torch.vander(x[0, 0, 0], 200)")),
    Group("x = torch.randn(4, n // 4096, 256)", "x", ("F.fold(x[:, : n // 4096 // 4 * 4], (32, 32), 2, stride=2)",)),
]

INDEX = [
    Group(
        _XY + _ROWS,
        "x",
        ("x[i]", "x.index_select(0, i)", "x.index_add(0, i, y)", "x.index_copy(0, i, y)", "x.index_fill(0, i, 1.0)")
        + (
            "x.index_reduce(0, i, y, 'amax')",
            "torch.index_put(x, (i,), y)",
            "torch.index_put(x, (i,), y, accumulate=True)",
        ),
    ),
    Group(_XY + _COLUMNS, "x", ("x[:, i]", "x.index_select(1, i)", "x.index_add(1, i, y)", "x.index_copy(1, i, y)")),
    Group(_XY + _COLUMNS, "x", ("x.index_fill(1, i[:50], 1.0)",)),
    Group(
        _XY + _WHERE,
        "x",
        ("x.gather(1, i)", "x.gather(0, i % (n // 1024))", "x.take_along_dim(i, 1)", "x.take(i)", "x.scatter(1, i, y)")
        + ("x.scatter_add(1, i, y)", "x.scatter(1, i, 1.0)", "x.scatter_reduce(1, i, y, 'amax')", "torch.put(x, i, y)")
        + (
            "x.scatter_reduce(1, i, y, 'sum')",
            "x.scatter_reduce(1, i, y, 'mean')",
            "x.scatter_reduce(1, i, y, 'prod')",
        ),
    ),
    Group(_XY + "; m = x > 0", "x y", ("x.masked_scatter(m, y)",)),
    Group(
        _X + "; i = torch.randint(0, 999, (n // 2,))",
        "",
        ("torch.unravel_index(i, (10, 100))[0]", "F.one_hot(i[: n // 256], 1000)"),
    ),
    Group(
        "w = torch.randn(5000, 256); i = torch.randint(0, 5000, (n // 256,)); o = torch.arange(0, n // 256, 8)"
        "; u = o // 16 * 16; p = torch.rand(n // 256)",
        "w",
        ("F.embedding(i, w)", "F.embedding_bag(i, w, o)", "F.embedding_bag(i, w, o, mode='sum')")
        + ("F.embedding_bag(i, w, o, mode='max')", "F.embedding(i, w, padding_idx=0)", "F.embedding_bag(i, w, u)")
        + ("F.embedding_bag(i, w, u, mode='sum', per_sample_weights=p)",),
    ),
    Group(
        _X + "; k = torch.full((n // 4096,), 4)",
        "x",
        ("torch.segment_reduce(x, 'sum', lengths=k)", "torch.segment_reduce(x, 'max', lengths=k)"),
    ),
]

_M = "a, b = torch.randn(512, 512), torch.randn(512, 512)"
_BATCH = "x = torch.randn(n // 4096, 64, 64); b = torch.randn(n // 4096, 64, 8)"
_SPD = "; s = x @ x.mT + 64 * torch.eye(64); "

PRODUCTS = [
    Group(
        _M + "; v, w = torch.randn(512), torch.randn(512)", "a b", ("a @ b", "torch.mm(a, b)", "torch.matmul(a, b.t())")
    ),
    Group(
        _M + "; v, w = torch.randn(512), torch.randn(512)",
        "a",
        ("torch.mv(a, v)", "torch.addmm(b, a, b)", "torch.addmv(v, a, w)", "torch.addr(a, v, w)", "F.linear(a, b, v)")
        + ("torch.outer(a[0], v)", "torch.ger(a[0], v)", "torch.dot(a.view(-1), b.view(-1))", "torch.inner(a, b)")
        + ("torch.vdot(a.view(-1), b.view(-1))", "torch.tensordot(a, b, 1)", "torch.einsum('ij,jk->ik', a, b)")
        + ("torch.einsum('ij,ij->i', a, b)", "torch.linalg.multi_dot([a, b, v])", "torch.chain_matmul(a, b, a)")
        + ("torch.linalg.matrix_power(a, 3)", "torch.matrix_power(a, 2)", "torch.linalg.vecdot(a, b)")
        + (
            "torch.kron(a[:16, :16], b[:32, :32])",
            "torch.norm(a)",
            "torch.linalg.norm(a)",
            "torch.linalg.matmul(a, b)",
        ),
    ),
    Group(
        "x, y = torch.randn(n // 4096, 64, 64), torch.randn(n // 4096, 64, 64)",
        "x y",
        (
            "torch.bmm(x, y)",
            "x @ y",
            "torch.baddbmm(x, x, y)",
            "torch.addbmm(x[0], x, y)",
            "torch.einsum('bij,bkj->bik', x, y)",
        ),
    ),
    Group(
        "x, y = torch.randn(n // 4, 4), torch.randn(64, 4)",
        "x",
        ("F.bilinear(x[:1024], x[:1024], torch.ones(8, 4, 4))",),
    ),
    Group(
        "x, y = torch.randn(n // 3, 3), torch.randn(n // 3, 3)",
        "x",
        ("torch.linalg.cross(x, y)", "torch.cross(x, y, 1)"),
    ),
    Group(
        "x, y = torch.randn(512, 64), torch.randn(512, 64)",
        "x",
        ("torch.cdist(x, y)", "torch.cdist(x, y, 1.0)", "F.pdist(x)"),
    ),
    Group(
        _XY,
        "x",
        ("F.pairwise_distance(x, y)", "F.cosine_similarity(x, y)", "torch.dist(x, y)", "torch.linalg.diagonal(x) + 0"),
    ),
    Group(
        "q, k, v = (torch.randn(2, 4, n // 4096, 64) for _ in range(3))",
        "q k v",
        ("F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
    ),
    Group(
        "x = torch.randn(64, 8, 128); w, o = torch.randn(384, 128) / 12, torch.randn(128, 128) / 12"
        "; b, c = w[:, 0], o[0]",
        "x",
        ("F.multi_head_attention_forward(x, x, x, 128, 4, w, b, None, None, False, 0.0, o, c, need_weights=False)[0]",),
    ),
]

_L = "torch.linalg."

LINALG = [
    Group(
        _BATCH + _SPD + "x = s / 128",
        "x",
        each(_L + "{}(x)", "cholesky inv det slogdet eigvalsh eigh qr svdvals pinv matrix_exp")
        + each("torch.{}(x)", "inverse det logdet slogdet cholesky pinverse matrix_exp"),
    ),
    Group(
        _BATCH + _SPD,
        "x",
        (_L + "svd(x)[1]", "torch.svd(x)[1]", "torch.qr(x)", _L + "matrix_norm(x)", _L + "matrix_norm(x, 'nuc')")
        + (
            _L + "lu(x)[2]",
            _L + "lu_factor(x)",
            "torch.lu(x)",
            "torch.frobenius_norm(x, (1, 2))",
            "torch.nuclear_norm(x, (1, 2))",
        ),
    ),
    Group(
        _BATCH
        + _SPD
        + "l = torch.linalg.cholesky(s); f, p = torch.linalg.lu_factor(s); d, e = torch.linalg.ldl_factor(s)"
        "; g, h = torch.geqrf(x)",
        "b",
        (
            _L + "solve(x, b)",
            _L + "solve_ex(x, b)",
            _L + "solve_triangular(l, b, upper=False)",
            "torch.cholesky_solve(b, l)",
        )
        + (
            _L + "lstsq(x, b)",
            "torch.lu_solve(b, f, p)",
            _L + "lu_solve(f, p, b)",
            "torch.triangular_solve(b, l, False)",
        ),
    ),
    Group(
        _BATCH
        + _SPD
        + "l = torch.linalg.cholesky(s); f, p = torch.linalg.lu_factor(s); d, e = torch.linalg.ldl_factor(s)"
        "; g, h = torch.geqrf(x)",
        "",
        each(_L + "{}(s)", "cholesky_ex inv_ex ldl_factor ldl_factor_ex lu_factor_ex matrix_rank cond")
        + (_L + "ldl_solve(d, e, b)", "torch.geqrf(x)", _L + "householder_product(g, h)", "torch.orgqr(g, h)")
        + (
            "torch.ormqr(g, h, b)",
            "torch.lu_unpack(f, p)",
            "torch.cholesky_inverse(l)",
            _L + "eig(x[:8])",
            _L + "eigvals(x[:8])",
        )
        + (_L + "tensorinv(x[0].view(8, 8, 64))", _L + "tensorsolve(x[0].view(8, 8, 64), x[0, 0].view(8, 8))")
        + (
            _L + "vander(b[:, :, 0], N=64)",
            "torch.svd_lowrank(x[0])",
            "torch.pca_lowrank(x[0])",
            "torch.lobpcg(s[0], 3)",
        ),
    ),
    Group(
        "x = torch.randn(256, 256); s = x @ x.t() + torch.eye(256)",
        "",
        (_L + "inv(x)", _L + "solve(x, x)", _L + "cholesky(s)"),
    ),
    Group(
        "x = torch.randn(256, 256); s = x @ x.t() + torch.eye(256)",
        "",
        (_L + "eigh(s)", _L + "svd(x)", _L + "qr(x)", _L + "det(x)"),
    ),
]

FOURIER = [
    Group(
        _X,
        "x",
        each(
            "torch.fft.{}(x)", "rfft rfft2 rfftn fft fft2 fftn ifft ifft2 ifftn ihfft ihfft2 ihfftn fftshift ifftshift"
        ),
    ),
    Group(
        "x = torch.randn(n // 2048, 1024, dtype=torch.complex64)",
        "x",
        each("torch.fft.{}(x)", "fft ifft fft2 ifft2 fftn ifftn"),
    ),
    Group(
        "x = torch.randn(n // 2048, 1024, dtype=torch.complex64)",
        "x",
        each("torch.fft.{}(x)", "irfft irfft2 irfftn hfft hfft2 hfftn") + ("torch.fft.fft(x, dim=0)",),
    ),
    Group("", "", ("torch.fft.fftfreq(n)", "torch.fft.rfftfreq(n)")),
    Group(
        "x = torch.randn(n); w = torch.hann_window(512); z = torch.stft(x, 512, window=w, return_complex=True)",
        "x",
        ("torch.stft(x, 512, window=w, return_complex=True)", "torch.istft(z, 512, window=w) + x[0]"),
    ),
]

_NORM = "; w, b = torch.ones(64), torch.zeros(64); m, v = torch.zeros(64), torch.ones(64)"
_ROW_NORM = _X + "; w, b = torch.ones(1024), torch.zeros(1024)"

LAYERS = [
    Group(
        _IMAGE + _NORM,
        "x w b",
        ("F.batch_norm(x, m, v, w, b, True)", "F.batch_norm(x, m, v, w, b)", "F.group_norm(x, 8, w, b)"),
    ),
    Group(
        _IMAGE + _NORM,
        "x w b",
        ("F.instance_norm(x, None, None, w, b)", "torch.native_batch_norm(x, w, b, m, v, True, 0.1, 1e-5)"),
    ),
    Group(_IMAGE + _NORM, "x w b", ("torch.native_group_norm(x, w, b, x.shape[0], 64, 1024, 8, 1e-5)",)),
    Group(_IMAGE, "x", ("F.local_response_norm(x, 5)",)),
    Group(_ROW_NORM, "x w b", ("F.layer_norm(x, (1024,), w, b)", "torch.native_layer_norm(x, (1024,), w, b, 1e-5)")),
    Group(_ROW_NORM, "x w", ("F.rms_norm(x, (1024,), w)", "torch.norm_except_dim(x, 2, 0) * w[0]")),
    Group(
        _SIGNAL,
        "x",
        ("F.max_pool1d(x, 2)", "F.avg_pool1d(x, 2)", "F.lp_pool1d(x, 2, 2)", "F.adaptive_avg_pool1d(x, 50)")
        + ("F.adaptive_max_pool1d(x, 50)", "F.max_pool1d(x, 2, return_indices=True)[0]")
        + ("F.interpolate(x, scale_factor=2)", "F.interpolate(x, scale_factor=2, mode='linear')"),
    ),
    Group(
        _IMAGE,
        "x",
        (
            "F.max_pool2d(x, 2)",
            "F.max_pool2d(x, 3, 2, 1)",
            "F.avg_pool2d(x, 2)",
            "F.avg_pool2d(x, 3, 1, 1)",
            "F.lp_pool2d(x, 2, 2)",
        )
        + ("F.adaptive_avg_pool2d(x, 7)", "F.adaptive_avg_pool2d(x, 1)", "F.adaptive_max_pool2d(x, 7)")
        + ("F.fractional_max_pool2d(x, 2, 15)", "F.interpolate(x, scale_factor=2)")
        + tuple(
            f"F.interpolate(x, scale_factor=2, mode='{mode}')"
            for mode in ("bilinear", "bicubic", "nearest-exact", "area")
        )
        + ("F.interpolate(x, size=(20, 20), mode='bilinear', antialias=True)", "F.upsample(x, scale_factor=2)")
        + ("F.interpolate(x, size=(20, 20), mode='bicubic', antialias=True)", "F.upsample_nearest(x, scale_factor=2)")
        + ("F.upsample_bilinear(x, scale_factor=2)", "F.interpolate(x, scale_factor=0.5, mode='bilinear')"),
    ),
    Group(_IMAGE + "; p, i = F.max_pool2d(x, 2, return_indices=True)", "p", ("F.max_unpool2d(p, i, 2)",)),
    Group(_SIGNAL + "; p, i = F.max_pool1d(x, 2, return_indices=True)", "p", ("F.max_unpool1d(p, i, 2)",)),
    Group(_VOLUME + "; p, i = F.max_pool3d(x, 2, return_indices=True)", "p", ("F.max_unpool3d(p, i, 2)",)),
    Group(
        _VOLUME,
        "x",
        ("F.max_pool3d(x, 2)", "F.avg_pool3d(x, 2)", "F.lp_pool3d(x, 2, 2)", "F.adaptive_avg_pool3d(x, 5)")
        + ("F.adaptive_max_pool3d(x, 5)", "F.fractional_max_pool3d(x, 2, 7)", "F.interpolate(x, scale_factor=2)")
        + ("F.interpolate(x, scale_factor=2, mode='trilinear')",),
    ),
    Group(
        _IMAGE + "; g = torch.rand(x.shape[0], 32, 32, 2) * 2 - 1; t = torch.randn(x.shape[0], 2, 3)",
        "x g",
        ("F.grid_sample(x, g, align_corners=False)", "F.grid_sample(x, g, 'nearest', align_corners=False)")
        + ("F.grid_sample(x, g, 'bicubic', align_corners=False)", "torch.grid_sampler(x, g, 0, 0, False)"),
    ),
    Group("t = torch.randn(4, 2, 3)", "t", ("F.affine_grid(t, (4, 3, 128, 128), align_corners=False)",)),
    Group(_SIGNAL + "; w = torch.randn(64, 64, 3); b = torch.randn(64)", "x w b", ("F.conv1d(x, w, b, padding=1)",)),
    Group(_SIGNAL + "; w = torch.randn(64, 64, 3)", "x w", ("F.conv_transpose1d(x, w)",)),
    Group(
        "x, w, b = torch.randn(256, 16, 64), torch.randn(3, 64, 64), torch.randn(64)",
        "x w b",
        ("torch.conv_tbc(x, w, b)",),
    ),
    Group(
        _IMAGE + "; w = torch.randn(64, 64, 3, 3); u = torch.randn(64, 1, 3, 3); k = torch.randn(64, 64, 1, 1)",
        "x w",
        (
            "F.conv2d(x, w, padding=1)",
            "F.conv_transpose2d(x, w)",
            "torch.convolution(x, w, None, (2, 2), (1, 1), (1, 1), False, (0, 0), 1)",
        ),
    ),
    Group(
        _IMAGE + "; u = torch.randn(64, 1, 3, 3); k = torch.randn(64, 64, 1, 1)",
        "x",
        ("F.conv2d(x, u, padding=1, groups=64)", "F.conv2d(x, k)"),
    ),
    Group(
        _VOLUME + "; w = torch.randn(16, 16, 3, 3, 3)", "x w", ("F.conv3d(x, w, padding=1)", "F.conv_transpose3d(x, w)")
    ),
    Group(
        "x, h, c = torch.randn(64, 256), torch.randn(64, 256), torch.randn(64, 256)"
        "; a, b = torch.randn(1024, 256), torch.randn(1024, 256); d = torch.randn(1024)",
        "x a",
        ("torch.lstm_cell(x, (h, c), a, b, d, d)", "torch.gru_cell(x, h, a[:768], b[:768], d[:768], d[:768])")
        + ("torch.rnn_tanh_cell(x, h, a[:256], b[:256], d[:256], d[:256])",)
        + ("torch.rnn_relu_cell(x, h, a[:256], b[:256], d[:256], d[:256])",),
    ),
]

_CLASSES = _X + "; t = torch.randint(0, 1024, (n // 1024,))"
_TARGETS = "x, y = torch.randn(n // 1024, 1024), torch.rand(n // 1024, 1024); s = torch.where(y > 0.5, 1.0, -1.0)"

LOSSES = [
    Group(
        _TARGETS,
        "x",
        each(
            "F.{}(x, y)",
            "mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy_with_logits poisson_nll_loss kl_div",
        )
        + each("F.{}(x, s)", "soft_margin_loss hinge_embedding_loss")
        + (
            "F.multilabel_soft_margin_loss(x, y)",
            "F.gaussian_nll_loss(x, y, y + 0.1)",
            "F.binary_cross_entropy(x.sigmoid(), y)",
        )
        + ("F.margin_ranking_loss(x, y, s)", "F.cosine_embedding_loss(x, y, s[:, 0])", "F.triplet_margin_loss(x, y, s)")
        + (
            "F.triplet_margin_with_distance_loss(x, y, s)",
            "F.mse_loss(x, y, reduction='none')",
            "F.l1_loss(x, y, reduction='sum')",
        ),
    ),
    Group(_CLASSES, "x", ("F.cross_entropy(x, t)", "F.nll_loss(x, t)", "F.multi_margin_loss(x, t)")),
    Group(_CLASSES, "x", ("F.cross_entropy(x, t, label_smoothing=0.1)",)),
    Group(
        "x = torch.randn(n // 1024, 128, 8); t = torch.randint(0, 128, (n // 1024, 8))", "x", ("F.cross_entropy(x, t)",)
    ),
    Group(_X + "; t = torch.randint(-1, 1024, (n // 1024, 1024))", "x", ("F.multilabel_margin_loss(x[:16], t[:16])",)),
    Group(
        "x = torch.randn(100, 32, 80).log_softmax(2); t = torch.randint(1, 80, (32, 20)); i = torch.full((32,), 100)",
        "x",
        ("F.ctc_loss(x, t, i, torch.full((32,), 20))",),
    ),
    Group(
        "x, w = torch.randn(256, 256), torch.randn(1024, 256); t = torch.randint(0, 1024, (256,))",
        "x w",
        ("F.linear_cross_entropy(x, w, t)",),
    ),
]

_SPARSE = (
    "d = torch.randn(512, 512) * (torch.rand(512, 512) > 0.95); x = d.to_sparse(); c = d.to_sparse_csr()"
    "; y = torch.randn(512, 64)"
)

OTHER = [
    Group(
        _SPARSE,
        "",
        (
            "torch.sparse.mm(x, y)",
            "c @ y",
            "x.to_dense()",
            "d.to_sparse()",
            "d.to_sparse_csr()",
            "torch.sparse.sum(x, 1)",
        )
        + (
            "torch.sparse.addmm(d[:, :64], x, y)",
            "torch.smm(x, y)",
            "torch.sparse.softmax(x, 1)",
            "torch.sparse.log_softmax(x, 1)",
        )
        + (
            "x.coalesce()",
            "torch.sparse.sampled_addmm(c, y, y.t())",
            "torch.sparse_coo_tensor(x.indices(), x.values(), (512, 512))",
        )
        + ("torch.hspmm(x, y)", "torch.sspaddmm(x, x, y[:, :0] @ y.t()[:0] + d)", "d.sparse_mask(x)", "c.to_dense()"),
    ),
    Group(
        _X,
        "",
        (
            "torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)",
            "torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127)",
        )
        + (
            "torch.quantize_per_tensor_dynamic(x, torch.qint8, False)",
            "torch.quantize_per_channel(x, x[:, 0].abs() + 1, x[:, 0].long(), 0, torch.qint8)",
        )
        + ("torch.fake_quantize_per_channel_affine(x, x[:, 0].abs() + 1, x[:, 0].int(), 0, -128, 127)",),
    ),
    Group(_X + "; q = torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)", "", ("q.dequantize()", "q.int_repr()")),
]

GROUPS = [*SHAPES, *INDEX, *PRODUCTS, *LINALG, *FOURIER, *LAYERS, *LOSSES, *OTHER]
